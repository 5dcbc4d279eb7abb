#include <ringlet/readiness.hpp>

#include <ringlet/detail/loop_core.hpp>
#include <ringlet/error.hpp>

#include <cerrno>
#include <cstddef>

#include <poll.h>

namespace ringlet {

bool ReadinessAwaiter::suspend(CancelScope& scope, std::coroutine_handle<> waiting) {
    poll_.configure(Opcode::poll, fd_, nullptr, static_cast<std::size_t>(events_));
    return scope.loop->start(poll_, scope, waiting);
}

int ReadinessAwaiter::take_answer() noexcept {
    const int answer = poll_.result;
    poll_.consume();
    if (answer > 0 && (answer & POLLNVAL) != 0) return -EBADF;
    return answer;
}

Result<void> ReadyAwaiter::await_resume() noexcept {
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    return {};
}

Result<short> EventsAwaiter::await_resume() noexcept {
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    return static_cast<short>(answer);
}

ReadyAwaiter readable(int fd) noexcept { return {fd, POLLIN}; }
ReadyAwaiter writable(int fd) noexcept { return {fd, POLLOUT}; }
EventsAwaiter poll_events(int fd, short events) noexcept { return {fd, events}; }

} // namespace ringlet
