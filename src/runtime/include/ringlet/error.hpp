#pragma once

#include <ringlet/detail/config.hpp>

#include <system_error>
#include <type_traits>

namespace RINGLET_EXPORT ringlet {

/// ringlet's own errors. All others are errnos in `std::generic_category`, and compare
/// equal to `std::errc`: `error == std::errc::connection_reset`.
enum class Errc {
    end_of_stream = 1,      ///< the peer finished before the first of the required bytes
    message_truncated,      ///< the peer finished in the middle of the required bytes
    invalid_endpoint,       ///< an address is not of the form HOST:PORT
    unknown_host,           ///< the host name has no address
    io_uring_disabled,      ///< kernel.io_uring_disabled forbids it
    io_uring_forbidden,     ///< a seccomp filter or a security module answers EPERM
    io_uring_missing,       ///< the kernel has none, or a filter hides it (ENOSYS)
    io_uring_unsupported,   ///< a sandbox answers EOPNOTSUPP
    io_uring_locked_memory, ///< the locked memory limit (RLIMIT_MEMLOCK) is too low
    io_uring_too_old,       ///< the kernel's io_uring lacks what ringlet needs (Linux 5.11)
    would_block_forever,    ///< every task waits for another one, and nothing can wake any
    channel_closed,         ///< a channel was closed, and everything in it has been received
    unknown_backend,        ///< RINGLET_BACKEND names no backend
    unknown_feature,        ///< RINGLET_WITH or RINGLET_WITHOUT names no feature
    task_not_ready,         ///< a started task ended before it reported that it was ready
    message_too_long,       ///< the message to read is longer than the given limit
    connected_to_itself,    ///< a connection's two ends are one socket: there is no listener
    invalid_range,          ///< a range of addresses is not of the form ADDRESS/BITS
    metrics_unavailable,    ///< cannot listen on `ServeOptions::metrics`; the report says why
    no_given_socket,        ///< the service manager gave no socket with that name
    not_listening,          ///< a descriptor is not a listening stream socket
    hand_over_busy,         ///< another program is already taking over from the running server
    handed_over,            ///< the connection continues in the program that replaces this one
    hand_over_unavailable,  ///< cannot take over or offer at `ServeOptions::hand_over`; see report
};

/// The category of `Errc`. Its messages say what to do.
[[nodiscard]] const std::error_category& error_category() noexcept;

/// Makes `Errc` usable wherever a `std::error_code` is expected.
[[nodiscard]] inline std::error_code make_error_code(Errc code) noexcept {
    return {static_cast<int>(code), error_category()};
}

/// Turns an errno (positive, as in `errno`) into an error code. The only place that does.
[[nodiscard]] inline std::error_code error_from_errno(int number) noexcept {
    return {number, std::generic_category()};
}

} // namespace ringlet

template <>
struct std::is_error_code_enum<ringlet::Errc> : std::true_type {};
