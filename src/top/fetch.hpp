#pragma once

// Asks a metrics address once, over HTTP.

#include "scrape.hpp"

#include <ringlet/task.hpp>

#include <chrono>
#include <optional>
#include <string>

/// The outcome: numbers, or why there are none.
struct Answer {
    std::optional<Scrape> scrape;
    std::string trouble = {}; // one line, without the address
    int exit_status = 0;      // of sysexits(3), for a trouble
};

/// `address` is in the form that a server's `--metrics` takes.
///
/// Suspends  Until the answer has come, or for `answer_time_limit`.
ringlet::Task<Answer> fetch(std::string address);

/// A server waits half a second for a stuck worker.
inline constexpr std::chrono::seconds answer_time_limit{5};
