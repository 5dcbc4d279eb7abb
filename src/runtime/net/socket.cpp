#include <ringlet/detail/socket.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "base/canary.hpp"
#include "base/kernel.hpp"
#include "net/named_peers.hpp"
#include "net/socket_state.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <utility>

#include <netinet/tcp.h>

namespace ringlet {

// ---- the socket ---------------------------------------------------------------------------------

void Socket::use_on(LoopCore& loop) {
    RINGLET_ASSERT(use_.loop == nullptr, "a socket was used on two loops: it belongs to the first");
    loop.use_descriptor(use_);
}

void Socket::end_if_idle() noexcept {
    if (!is_idle()) return;
    if (ending_ == Ending::dropped) {
        delete this;
    } else {
        ending_ = Ending::no;
        use_.loop->make_ready(*std::exchange(closer_, nullptr));
    }
}

void Socket::cancel_requests() noexcept {
    if (use_.loop == nullptr) return;
    use_.loop->cancel(inbound, ECANCELED);
    use_.loop->cancel(outbound, ECANCELED);
}

void Socket::limit_idle_time() noexcept {
    for (Operation* operation : {&inbound, &outbound}) {
        if (std::exchange(operation->idle_limited, true)) continue;
        if (operation->state == Operation::State::in_flight) use_.loop->limit_idle_time(*operation);
    }
}

void Socket::drop() noexcept {
    if (is_idle()) {
        delete this;
        return;
    }
    ending_ = Ending::dropped;
    cancel_requests();
}

Result<Endpoint> Socket::peer() const {
    if (has_named_peer_) return named_peers().of(*this);
    return ask(&Kernel::peer);
}

std::optional<Endpoint> Socket::named_peer() const {
    if (!has_named_peer_) return std::nullopt;
    return named_peers().of(*this);
}

void Socket::name_peer(const Endpoint& peer) {
    named_peers().name(*this, peer);
    has_named_peer_ = true;
}

void Socket::forget_named_peer() const noexcept { named_peers().forget(*this); }

void SocketHandle::drop() noexcept {
    if (Socket* socket = release()) socket->drop();
}

void Socket::two_at_once(const Operation& first, Opcode second) {
    const TaskRecord* task = LoopCore::current_task();
    const std::string message = "two operations of one kind at once on one socket: " +
                                (task != nullptr ? task->to_string() : std::string("somebody")) +
                                " began a " + to_string(second) + " while " +
                                first.Wait::scope->task->to_string() + " waits for " +
                                first.describe();
    assertion_failed("the last one has ended", message.c_str(), __FILE__, __LINE__);
}

void used_empty(const char* what) {
    const TaskRecord* task = LoopCore::current_task();
    const std::string message = std::string(what) +
                                " was used that is empty: moved from, or closed" +
                                (task != nullptr ? "; by " + task->to_string() : std::string());
    assertion_failed("it owns a socket", message.c_str(), __FILE__, __LINE__);
}

// ---- the awaiters -------------------------------------------------------------------------------

bool SocketAwaiter::suspend(CancelScope& scope, std::coroutine_handle<> waiter) {
    if (operation_->size_bytes == 0 && operation_->extent == Operation::Extent::whole) [[unlikely]]
        return scope.loop->finish_at_once(*operation_, scope, waiter);
    const bool waits = socket_->start(*operation_, scope, waiter);
    return waits || lives(Canary::lost_wake_up);
}

namespace {

// Mistakes on purpose: see canary.hpp.
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
    const bool was_faster = operation_->cancel_requested;
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    if (answer == 0) return Buffer();
    if (lives(Canary::buffer_twice) && was_faster) Buffer::give_back(memory);
    return Buffer(memory, static_cast<std::size_t>(answer));
}

void CloseAwaiter::abandon() noexcept {
    if (socket_) socket_.get()->tell_when_idle(nullptr);
}

// Whether anybody waits or not, the socket closes when the kernel has answered: nothing is cut short.
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

// ---- opening ------------------------------------------------------------------------------------

namespace {

Result<void> watch(Kernel& kernel, int fd, const Liveness& liveness) {
    const auto set = [&](int level, int name, std::int64_t value) {
        return kernel.set_option(fd, level, name,
                                 static_cast<int>(std::min<std::int64_t>(value, INT_MAX)));
    };
    Result<void> done;
    if (liveness.user_timeout.count() > 0)
        done = set(IPPROTO_TCP, TCP_USER_TIMEOUT, liveness.user_timeout.count());
    if (!done || liveness.keep_alive.count() <= 0) return done;
    constexpr int question_count = 6;
    constexpr std::int64_t limit_s = 32'767; // of the kernel's (MAX_TCP_KEEPIDLE)
    const std::int64_t silence = std::min<std::int64_t>(liveness.keep_alive.count(), limit_s);
    done = set(SOL_SOCKET, SO_KEEPALIVE, 1);
    if (done) done = set(IPPROTO_TCP, TCP_KEEPIDLE, silence);
    if (done)
        done = set(IPPROTO_TCP, TCP_KEEPINTVL, std::max<std::int64_t>(silence / question_count, 1));
    if (done) done = set(IPPROTO_TCP, TCP_KEEPCNT, question_count);
    return done;
}

} // namespace

Result<UniqueFd> open_tcp_socket(int family, bool no_delay, const Liveness& liveness) {
    auto fd = Kernel::of_this_thread().open_socket(family, SOCK_STREAM);
    if (!fd) return fd;
    auto set = set_tcp_options(fd->get(), no_delay, liveness);
    if (!set) return set.error();
    return fd;
}

Result<void> set_tcp_options(int fd, bool no_delay, const Liveness& liveness) {
    Kernel& kernel = Kernel::of_this_thread();
    Result<void> set;
    if (no_delay) set = kernel.set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (set) set = watch(kernel, fd, liveness);
    return set;
}

} // namespace ringlet
