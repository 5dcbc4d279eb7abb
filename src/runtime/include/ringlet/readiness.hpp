#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/result.hpp>

#include <coroutine>

namespace RINGLET_EXPORT ringlet {

/// What `readable`, `writable` and `poll_events` return; await it at once.
class ReadinessAwaiter {
public:
    ReadinessAwaiter(int fd, short events) noexcept : fd_(fd), events_(events) {}
    /// Copy it only before it is awaited.
    ReadinessAwaiter(const ReadinessAwaiter& other) noexcept
        : fd_(other.fd_), events_(other.events_) {}
    ReadinessAwaiter& operator=(const ReadinessAwaiter&) = delete;

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return suspend(scope_of(waiting), waiting);
    }

protected:
    /// The events, or a negative errno.
    int take_answer() noexcept;

private:
    bool suspend(CancelScope& scope, std::coroutine_handle<> waiting);

    int fd_;
    short events_;
    Operation poll_;
};

/// Returns success.
class [[nodiscard]] ReadyAwaiter final : public ReadinessAwaiter {
public:
    using ReadinessAwaiter::ReadinessAwaiter;
    Result<void> await_resume() noexcept;
};

/// Returns the events that occurred.
class [[nodiscard]] EventsAwaiter final : public ReadinessAwaiter {
public:
    using ReadinessAwaiter::ReadinessAwaiter;
    Result<short> await_resume() noexcept;
};

/// Waits until a descriptor that other code reads has data, end of file or an error: for libraries that have
/// descriptors of their own, such as libpq and libcurl (docs/guides/foreign_libraries.md).
///
/// Lifetime  The descriptor stays open until the await has ended. Any kind that poll(2) takes; a file is always ready.
/// Thread    Any number of tasks may wait for one descriptor.
/// Suspends  At least once.
/// Cancel    Ends with `operation_canceled`.
/// Returns   `Result<void>`.
/// Errors    `bad_file_descriptor`.
/// Cost      One submission and one completion; on epoll four system calls.
[[nodiscard]] ReadyAwaiter readable(int fd) noexcept;

/// The same, but until the descriptor can be written or has failed.
[[nodiscard]] ReadyAwaiter writable(int fd) noexcept;

/// The same for several events of poll(2) at once, such as `POLLIN | POLLOUT`.
///
/// Returns   `Result<short>`: the events that occurred, which may include POLLERR and POLLHUP even if not asked for.
[[nodiscard]] EventsAwaiter poll_events(int fd, short events) noexcept;

} // namespace ringlet
