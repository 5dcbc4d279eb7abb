#pragma once

#include <ringlet/detail/config.hpp>

#include <system_error>
#include <type_traits>

namespace RINGLET_EXPORT ringlet {

/// The errors that are ringlet's own. All others are errnos in `std::generic_category`, and compare
/// equal to `std::errc`: `error == std::errc::connection_reset`.
enum class Errc {
    end_of_stream = 1,      ///< the peer finished where more bytes were required, before the first
    message_truncated,      ///< the peer finished in the middle of the bytes that were required
    invalid_endpoint,       ///< an address is not of the form HOST:PORT
    unknown_host,           ///< the host name has no address
    io_uring_disabled,      ///< kernel.io_uring_disabled forbids it
    io_uring_forbidden,     ///< a seccomp filter or a security module answers EPERM
    io_uring_missing,       ///< the kernel has none, or a filter hides it (ENOSYS)
    io_uring_unsupported,   ///< a sandbox answers EOPNOTSUPP
    io_uring_locked_memory, ///< the locked memory limit (RLIMIT_MEMLOCK) is too low
    io_uring_too_old,       ///< the kernel's io_uring lacks what ringlet needs (Linux 5.11)
    would_block_forever,    ///< every task waits for another one, and nothing can wake any
    channel_closed,         ///< a channel was closed, and what was in it has been received
    unknown_backend,        ///< RINGLET_BACKEND names no backend
    unknown_feature,        ///< RINGLET_WITH or RINGLET_WITHOUT names no feature
    task_not_ready,         ///< a task that was started ended before it said that it was ready
    message_too_long,       ///< what was to be read is longer than the limit that was given
    connected_to_itself,    ///< both ends of a connection are one socket: nobody listens there
    invalid_range,          ///< a range of addresses is not of the form ADDRESS/BITS
    metrics_unavailable, ///< `ServeOptions::metrics` is no address to listen on; it has been reported why
    no_given_socket, ///< the service manager has given no socket of that name
    not_listening,   ///< a descriptor is no stream socket that listens
    hand_over_busy,  ///< another program is already taking over from the server that runs
    handed_over,     ///< the connection goes on in the program that comes after this one
    hand_over_unavailable, ///< nothing can be taken over or offered at `ServeOptions::hand_over`; it has been reported why
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
