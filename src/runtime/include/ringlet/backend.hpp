#pragma once

#include <ringlet/detail/config.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace RINGLET_EXPORT ringlet {

/// Which door to the kernel a loop uses.
enum class Backend : std::uint8_t {
    automatic, ///< io_uring, or epoll where io_uring is refused
    io_uring,
    epoll,
    simulated ///< in a simulation (`<ringlet/testing/simulation.hpp>`), whatever was asked for
};

/// `auto`, `io_uring`, `epoll` or `simulated`.
[[nodiscard]] const char* to_string(Backend backend) noexcept;

/// The backend of that name: `auto`, `io_uring` or `epoll`.
[[nodiscard]] std::optional<Backend> parse_backend(std::string_view name) noexcept;

/// What a loop runs on, and why.
struct BackendChoice {
    Backend backend = Backend::io_uring; ///< never `automatic`
    std::error_code refusal = {}; ///< why it is not io_uring; zero if it is, or was not asked for

    /// For a log line: `io_uring`, `epoll (as asked for)` or `epoll (io_uring is refused: Operation
    /// not permitted)`. What to change is in the message of `refusal`.
    [[nodiscard]] std::string to_string() const;
};

/// Parts of io_uring that ringlet can do without. Each is used where the kernel has it; switching one
/// off shows what it is worth, or avoids it where it is broken. The environment variables
/// RINGLET_WITHOUT and RINGLET_WITH do it for a program that exists:
/// `RINGLET_WITHOUT=defer_taskrun,registered_ring`.
struct RingFeatures {
    bool defer_taskrun = true;     ///< completions are worked out when the loop asks (Linux 6.1)
    bool registered_ring = true;   ///< the ring's descriptor is looked up once (Linux 5.18)
    bool wait_with_timeout = true; ///< a deadline travels with the wait (Linux 5.11)
    bool provided_buffers = true;  ///< a receive takes its buffer when data comes (Linux 5.19)
    bool own_buffers = true;       ///< but the first 1,024 that wait have theirs: it is faster
    bool accept_poll_first = true; ///< accept makes a socket when somebody has come (Linux 6.10)

    bool zero_copy_send = true; ///< `send_all_zero_copy` is more than `send_all` (Linux 6.2)

    /// One submission accepts many connections (Linux 5.19). Where `accept_poll_first` works it gains
    /// 2 % or nothing; before Linux 6.10 it saves a server of short connections 1 to 12 % of its CPU
    /// (docs/results/measurements.md). Not used unless asked for: the kernel then accepts whoever is in the
    /// backlog, also beyond what a server has room and descriptors for. 2,000 clients that came at
    /// once left 2,000 open descriptors in a server of at most 4 connections.
    bool multishot_accept = false;

    /// One submission receives all that comes on a connection (Linux 6.0), into `provided_buffers`;
    /// `own_buffers` are not used with it. Not used unless asked for: it costs as much as those
    /// (docs/results/measurements.md), and takes up to four buffers ahead of a handler that is slow.
    bool multishot_receive = false;

    /// Accepted connections are in a table of the ring's own, and no descriptors of the process
    /// (Linux 6.8). Each ring has room for as many as a process may have descriptors (RLIMIT_NOFILE), so
    /// that a process holds more connections than that by having several loops: `Workers`. Not used
    /// unless asked for: such a stream has no `native_handle`, works on no other loop, and asks for
    /// its addresses by a detour. `multishot_accept` is not used with it.
    bool direct_descriptors = false;
};

/// Tries whether this thread can have an io_uring: sets one up and sends a no-op through it.
///
/// Returns   Zero, or why not: `Errc::io_uring_...`, whose message says what to change, or the
///           kernel's errno.
[[nodiscard]] std::error_code probe_io_uring() noexcept;

} // namespace ringlet
