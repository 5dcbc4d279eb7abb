#pragma once

// One of the processes that hold connections: opens its share, holds it, and reports its progress to
// its parent.

#include "exchange.hpp"
#include "source_addresses.hpp"

#include <ringlet/ringlet.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <sys/types.h>

struct HoldOptions {
    ringlet::Endpoint server;
    std::uint64_t connections = 0;
    std::optional<SourceAddresses> sources; ///< none: the kernel chooses
    std::chrono::milliseconds hold_time{1000};
    std::chrono::milliseconds timeout{30'000};
    std::vector<std::byte> message;
    ringlet::LoopOptions loop;
    pid_t server_pid = 0; ///< 0: its memory is not looked at
    bool progress = false;
    std::optional<TlsSettings> tls = {};
};

/// Which of the connections are those of one process.
struct Share {
    std::uint64_t begin = 0;
    std::uint64_t count = 0;
};

/// What such a process reports: a few times a second, and when it has done what it was told.
struct HoldCount {
    std::uint64_t held = 0;   ///< connected, and the first echo came back right
    std::uint64_t failed = 0; ///< the others that were tried
    std::uint64_t first_echo_errors = 0;
    std::uint64_t last_echo_successes = 0;
    std::uint64_t last_echo_errors = 0;
    int exit_status = 0;   ///< not 0: it could not even begin
    bool done = false;     ///< what it was told
    bool unserved = false; ///< the first error is a timeout: no answer in time
    int first_errno = 0;   ///< of that error, if it is one of the system
    std::array<char, 200> first_error{};
};

/// Does the work of such a process, and ends it. It reports once that it is ready, and then acts on each byte
/// that comes over `parent`: opens its share and echoes once on each, then echoes once more on each.
[[noreturn]] void hold_share(const HoldOptions& options, Share share, ringlet::UniqueFd parent);
