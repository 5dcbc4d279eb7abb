#pragma once

// The files that HdrHistogram's tools read, with times in milliseconds.

#include "histogram.hpp"

#include <chrono>
#include <span>
#include <string>

/// The percentile distribution as text (.hgrm).
std::string percentiles_text(const Histogram& histogram);

/// What was measured in some time.
struct Interval {
    std::string tag; ///< empty: none
    std::chrono::system_clock::time_point begin;
    std::chrono::nanoseconds length{0};
    const Histogram& histogram;
};

/// A log of format 1.3 (.hlog), a line for each interval.
std::string log_text(std::span<const Interval> intervals);
