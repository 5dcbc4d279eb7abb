#pragma once

// The load itself: coroutines that connect, send, and compare what comes back.

#include "exchange.hpp"
#include "histogram.hpp"
#include "interruption.hpp"
#include "start_line.hpp"

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
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
    bool numbered = true;                  ///< each message tells which it is, over its first bytes
    bool churn = false;                    ///< what a whole connection takes is measured too
    std::chrono::milliseconds duration{0}; ///< 0: count, do not time
    std::chrono::milliseconds warmup{0};
    std::chrono::milliseconds timeout{30'000};
    /// How many connections of each coroutine in a row without an echo end the run; 0: none do.
    std::uint64_t give_up_after = 1000;
    double rate = 0; ///< requests a second over all; 0: as fast as answered
    bool progress = false;
    std::optional<TlsSettings> tls = {};
};

struct LoadResult {
    std::uint64_t successes = 0;
    std::uint64_t errors = 0;
    std::uint64_t connections_made = 0;
    std::uint64_t connections_failed = 0;
    std::uint64_t handshakes_resumed = 0; ///< of those that were made, with TLS
    std::string first_error;
    std::string connect_error;       ///< of the first connection that failed
    std::error_code connect_failure; ///< the same
    Histogram latency;
    std::uint64_t connections_whole = 0; ///< with --churn: that did all their echoes
    Histogram connection_latency;        ///< of these: connect, echo and close
    std::chrono::system_clock::time_point begin;
    std::chrono::nanoseconds wall{0};
    std::chrono::nanoseconds cpu{0};
    std::chrono::nanoseconds cpu_wait{0}; ///< ready to run, and others had the core
    std::uint64_t late_sends = 0;         ///< open loop: that went out when we had slept too long
    std::chrono::nanoseconds latest_send{0};
    /// Open loop: that were due before the end of the time and found no connection; they are errors.
    std::uint64_t never_sent = 0;
    bool interrupted = false; ///< by a signal
    bool gave_up = false;     ///< on a server that was not there any more
    std::string last_failure; ///< then: what became of the last connection
    /// If it ended early: requests that were due or under way, and are neither right nor errors.
    std::uint64_t unfinished = 0;
};

/// Which part of the load one of its threads does: of coroutines, requests and connections every
/// `workers`-th.
struct LoadShare {
    std::uint64_t worker = 0;
    std::uint64_t workers = 1;

    /// The number of one of ours among all.
    [[nodiscard]] std::uint64_t number(std::uint64_t index) const {
        return index * workers + worker;
    }
    /// How many of the first `all` are ours.
    [[nodiscard]] std::uint64_t count_of(std::uint64_t all) const {
        return all / workers + (worker < all % workers ? 1 : 0);
    }
};

/// Runs a share of the load on `loop`: the warm-up, whose figures are discarded, then the measurement; both
/// begin when all threads are ready. A signal ends it early. None if it came during the warm-up.
std::optional<LoadResult> run_load(ringlet::EventLoop& loop, const LoadOptions& options,
                                   LoadShare share, StartLine& start, Interruption& interruption);
