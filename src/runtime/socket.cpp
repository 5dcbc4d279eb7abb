#include <ringlet/socket.hpp>

#include <ringlet/assert.hpp>
#include <ringlet/error.hpp>

#include "socket_state.hpp"

#include <cerrno>

#include <netinet/tcp.h>
#include <sys/socket.h>

namespace ringlet {

// ---- the socket ---------------------------------------------------------------------------------

bool Socket::start(Operation& operation, TaskContext& context, std::coroutine_handle<> waiter) {
    RINGLET_ASSERT(loop_ == nullptr || loop_ == context.loop,
                   "a socket was used on two loops: it belongs to the first");
    loop_ = context.loop;
    return loop_->start(operation, context, waiter);
}

void Socket::answered() noexcept {
    if (!is_idle()) return;
    if (dropped_) {
        delete this;
    } else if (closer_.waiter) {
        loop_->make_ready(closer_);
    }
}

void Socket::cancel_requests() noexcept {
    if (loop_ == nullptr) return;
    loop_->cancel(inbound, ECANCELED);
    loop_->cancel(outbound, ECANCELED);
}

void Socket::drop() noexcept {
    if (is_idle()) {
        delete this;
        return;
    }
    dropped_ = true;
    cancel_requests();
}

void SocketHandle::drop() noexcept {
    if (Socket* socket = release()) socket->drop();
}

// ---- the awaiters -------------------------------------------------------------------------------

bool SocketAwaiter::suspend(TaskContext& context, std::coroutine_handle<> waiter) {
    return socket_->start(*operation_, context, waiter);
}

int SocketAwaiter::take_answer() noexcept {
    const int answer = operation_->result;
    operation_->consume();
    socket_->answered();
    return answer;
}

Result<std::size_t> TransferAwaiter::await_resume() {
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    return static_cast<std::size_t>(answer);
}

bool WholeAwaiter::await_ready() const noexcept { return operation_->size_bytes == 0; }

Result<void> WholeAwaiter::await_resume() {
    const std::size_t asked_bytes = operation_->size_bytes;
    const std::size_t moved_bytes = operation_->transferred_bytes;
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    if (moved_bytes == asked_bytes) return {};
    return moved_bytes == 0 ? Errc::end_of_stream : Errc::message_truncated;
}

bool RecvBufferAwaiter::suspend_with_memory(TaskContext& context, std::coroutine_handle<> waiter) {
    operation_->data = Buffer::borrow();
    operation_->size_bytes = Buffer::capacity_bytes;
    const bool suspended = suspend(context, waiter);
    if (operation_->state != Operation::State::in_flight) {
        Buffer::give_back(static_cast<std::byte*>(std::exchange(operation_->data, nullptr)));
    }
    return suspended;
}

Result<Buffer> RecvBufferAwaiter::await_resume() {
    auto* memory = static_cast<std::byte*>(std::exchange(operation_->data, nullptr));
    const int answer = take_answer();
    if (answer > 0) return Buffer(memory, static_cast<std::size_t>(answer));
    if (memory != nullptr) Buffer::give_back(memory);
    if (answer < 0) return error_from_errno(-answer);
    return Buffer();
}

bool CloseAwaiter::await_ready() noexcept { return !socket_ || socket_.get()->is_idle(); }

bool CloseAwaiter::suspend(TaskContext& context, std::coroutine_handle<> waiter) {
    socket_.get()->cancel_requests();
    const auto admission = context.loop->admit(context);
    if (admission == EventLoop::Admission::proceed) socket_.get()->wait_until_idle(waiter);
    return admission != EventLoop::Admission::refuse;
}

Result<void> CloseAwaiter::await_resume() noexcept {
    socket_ = SocketHandle();
    return {};
}

// ---- system calls -------------------------------------------------------------------------------

Result<Endpoint> local_endpoint(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return error_from_errno(errno);
    }
    return Endpoint::from_sockaddr(address);
}

Result<void> set_option(int fd, int level, int name, int value) {
    if (::setsockopt(fd, level, name, &value, sizeof value) != 0) return error_from_errno(errno);
    return {};
}

Result<UniqueFd> open_tcp_socket(int family, bool no_delay) {
    UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return error_from_errno(errno);
    if (no_delay) {
        auto set = set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
        if (!set) return set.error();
    }
    return fd;
}

} // namespace ringlet
