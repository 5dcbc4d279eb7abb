#pragma once

// The files that HdrHistogram's tools read, with times in milliseconds.

#include "histogram.hpp"

#include <chrono>
#include <cstdio>
#include <span>
#include <string>

/// Writes the percentile distribution as text (.hgrm).
void write_percentiles(std::FILE* file, const Histogram& histogram);

/// What was measured in some time.
struct Interval {
    std::string tag; ///< empty: none
    std::chrono::system_clock::time_point begin;
    std::chrono::nanoseconds length{0};
    const Histogram& histogram;
};

/// Writes a log of format 1.3 (.hlog), a line for each interval.
void write_log(std::FILE* file, std::span<const Interval> intervals);
