#pragma once

// The load itself: coroutines that connect, send, and compare what comes back.

#include "histogram.hpp"

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

struct LoadOptions {
    ringlet::Endpoint server;
    std::uint64_t coroutines = 100;
    std::uint64_t connections_each = 5;
    std::uint64_t echoes_each = 200;
    std::uint64_t pipeline = 1;
    std::vector<std::byte> message;
    std::chrono::milliseconds duration{0}; ///< 0: count, do not time
    std::chrono::milliseconds warmup{0};
    std::chrono::milliseconds timeout{30'000};
    double rate = 0; ///< requests a second over all; 0: as fast as answered
    bool progress = false;
};

struct LoadResult {
    std::uint64_t successes = 0;
    std::uint64_t errors = 0;
    std::uint64_t connections_made = 0;
    std::uint64_t connections_failed = 0;
    std::string first_error;
    std::error_code connect_error; ///< of the first connection that failed
    Histogram latency;
    std::chrono::nanoseconds wall{0};
    std::chrono::nanoseconds cpu{0};
};

/// Runs the load on `loop`: the warm-up, whose figures are thrown away, then what is measured.
LoadResult run_load(ringlet::EventLoop& loop, const LoadOptions& options);
