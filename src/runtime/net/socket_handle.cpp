#include <ringlet/detail/socket_handle.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "base/canary.hpp"
#include "net/socket.hpp"

#include <cerrno>
#include <utility>

namespace ringlet {

void SocketHandle::drop() noexcept {
    if (Socket* socket = release()) socket->drop();
}

// ---- the awaiters -------------------------------------------------------------------------------

bool SocketAwaiter::suspend(CancelScope& scope, std::coroutine_handle<> waiter) {
    if (operation_->size_bytes == 0 && operation_->extent == Operation::Extent::whole) [[unlikely]]
        return scope.loop->finish_at_once(*operation_, scope, waiter);
    const bool waits = socket_->start(*operation_, scope, waiter);
    return waits || lives(Canary::lost_wake_up);
}

namespace {

// Deliberate mistakes: see canary.hpp.
int spoil(const Operation& operation, int answer) noexcept {
    const bool was_faster = operation.cancel_requested && answer > 0;
    const bool leaks = was_faster && operation.opcode == Opcode::accept;
    const bool drops = was_faster && operation.opcode == Opcode::recv_buffer;
    if (leaks && lives(Canary::leaked_accept)) return -ECANCELED;
    if (drops && lives(Canary::dropped_receive)) return -ECANCELED;
    return answer;
}

} // namespace

int SocketAwaiter::take_answer() noexcept {
    const int answer = spoil(*operation_, operation_->result);
    operation_->consume();
    socket_->answered();
    return answer;
}

Result<std::size_t> TransferAwaiter::await_resume() {
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    return static_cast<std::size_t>(answer);
}

Result<void> WholeAwaiter::await_resume() {
    const std::size_t asked_bytes = operation_->size_bytes;
    const std::size_t moved_bytes = operation_->transferred_bytes;
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    if (moved_bytes == asked_bytes) return {};
    return moved_bytes == 0 ? Errc::end_of_stream : Errc::message_truncated;
}

Result<Buffer> RecvBufferAwaiter::await_resume() {
    auto* memory = static_cast<std::byte*>(std::exchange(operation_->data, nullptr));
    const bool twice = lives(Canary::buffer_twice) && operation_->cancel_requested;
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    if (answer == 0) return Buffer();
    if (twice) Buffer::give_back(memory);
    return Buffer(memory, static_cast<std::size_t>(answer));
}

void CloseAwaiter::abandon() noexcept {
    if (socket_) socket_.get()->tell_when_idle(nullptr);
}

// Even if no task waits, the socket closes when the kernel has answered: nothing is cut short.
bool CloseAwaiter::suspend(CancelScope& in, std::coroutine_handle<> closer) {
    if (socket_) socket_.get()->cancel_requests();
    const auto admission = in.loop->admit_without_note(in);
    if (admission != LoopCore::Admission::proceed)
        return in.loop->suspend_refused(admission, in, closer);
    if (!socket_ || socket_.get()->is_idle()) return in.loop->answered_at_once(in, closer);
    suspend_to_the_end(in, closer, [this] { socket_.get()->tell_when_idle(this); });
    return true;
}

Result<void> CloseAwaiter::await_resume() noexcept {
    socket_ = SocketHandle();
    return {};
}

// ---- connecting ---------------------------------------------------------------------------------

ConnectingSocket::ConnectingSocket(const Endpoint& peer, Result<UniqueFd> fd) : peer_(peer) {
    if (fd) {
        socket_ = SocketHandle(new Socket(std::move(*fd)));
    } else {
        opened_ = fd.error();
    }
}

bool ConnectingSocket::suspend(CancelScope& scope, std::coroutine_handle<> waiter) {
    if (!opened_) {
        const auto admission = scope.loop->admit(scope);
        if (admission == LoopCore::Admission::proceed)
            return scope.loop->answered_at_once(scope, waiter);
        opened_ = std::errc::operation_canceled;
        return scope.loop->suspend_refused(admission, scope, waiter);
    }
    Socket& socket = *socket_.get();
    socket.configure(socket.outbound, Opcode::connect, const_cast<sockaddr*>(peer_.data()),
                     peer_.size_bytes());
    return socket.start(socket.outbound, scope, waiter);
}

Result<SocketHandle> ConnectingSocket::take_socket() {
    if (!opened_) return opened_.error();
    Socket& socket = *socket_.get();
    const int answer = socket.outbound.result;
    socket.outbound.consume();
    if (answer < 0) return error_from_errno(-answer);
    return std::move(socket_);
}

} // namespace ringlet
