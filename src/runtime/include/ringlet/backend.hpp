#pragma once

#include <ringlet/detail/config.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace RINGLET_EXPORT ringlet {

/// Which kernel interface a loop uses.
enum class Backend : std::uint8_t {
    automatic, ///< io_uring, or epoll if io_uring is refused
    io_uring,
    epoll,
    simulated ///< in a simulation (`<ringlet/testing/simulation.hpp>`), whatever was asked for
};

/// `auto`, `io_uring`, `epoll` or `simulated`.
[[nodiscard]] const char* to_string(Backend backend) noexcept;

/// The backend with the name `auto`, `io_uring` or `epoll`; nothing for any other name.
[[nodiscard]] std::optional<Backend> parse_backend(std::string_view name) noexcept;

/// What a loop runs on, and why.
struct BackendChoice {
    Backend backend = Backend::io_uring; ///< never `automatic`
    std::error_code refusal = {}; ///< why io_uring was refused; zero if used, or not asked for

    /// For a log line: `io_uring`, `epoll (as asked for)` or `epoll (io_uring is refused: Operation
    /// not permitted)`. The message of `refusal` says what to change.
    [[nodiscard]] std::string to_string() const;
};

/// Parts of io_uring that ringlet can do without. Each is used if the kernel has it. Switch one off
/// to see what it is worth, or to avoid it on a kernel where it is broken. The environment variables
/// RINGLET_WITHOUT and RINGLET_WITH do the same for an existing program:
/// `RINGLET_WITHOUT=defer_taskrun,registered_ring`.
struct RingFeatures {
    bool defer_taskrun = true;     ///< completion work runs when the loop asks for it (Linux 6.1)
    bool registered_ring = true;   ///< the ring's descriptor is looked up once (Linux 5.18)
    bool wait_with_timeout = true; ///< a deadline is passed along with the wait (Linux 5.11)
    bool provided_buffers = true;  ///< a receive takes its buffer when data arrives (Linux 5.19)
    bool own_buffers = true;       ///< but the first 1,024 to wait hold their own, which is faster
    bool accept_poll_first = true; ///< accept makes a socket once a client has come (Linux 6.10)

    bool zero_copy_send = true; ///< without it `send_all_zero_copy` is `send_all` (Linux 6.2)

    /// One submission accepts many connections (Linux 5.19). If `accept_poll_first` works, it gains 2 %
    /// or nothing; before Linux 6.10 it saves a server of short connections 1 to 12 % of its CPU
    /// (docs/results/measurements.md). Off by default: with it the kernel accepts the whole backlog,
    /// even beyond the room and the descriptors that a server has. 2,000 clients that connected at once
    /// left 2,000 open descriptors in a server limited to 4 connections.
    bool multishot_accept = false;

    /// One submission receives everything that arrives on a connection (Linux 6.0), into
    /// `provided_buffers`; `own_buffers` are not used with it. Off by default: it costs as much as
    /// `own_buffers` (docs/results/measurements.md), and fills up to four buffers ahead of a slow handler.
    bool multishot_receive = false;

    /// Accepted connections live in a table of the ring and take no descriptors of the process
    /// (Linux 6.8). Each ring has room for RLIMIT_NOFILE connections, so a process with several loops
    /// (`Workers`) can hold more connections than that limit. Off by default: such a stream has no
    /// `native_handle`, works on no other loop, and needs a detour to learn its addresses.
    /// `multishot_accept` is not used with it.
    bool direct_descriptors = false;
};

/// Tests whether this thread can use io_uring: sets up a ring and sends a no-op through it.
///
/// Returns   Zero if it can. Otherwise `Errc::io_uring_...`, whose message says what to change, or
///           the kernel's errno.
[[nodiscard]] std::error_code probe_io_uring() noexcept;

} // namespace ringlet
