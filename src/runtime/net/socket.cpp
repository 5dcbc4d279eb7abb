#include "net/socket.hpp"

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/named_peers.hpp"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <utility>

#include <netinet/tcp.h>

namespace ringlet {

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

void Socket::two_at_once(const Operation& first, Opcode second) {
    const TaskRecord* task = LoopCore::current_task();
    const std::string message = "two operations of one kind at once on one socket: " +
                                (task != nullptr ? task->to_string() : std::string("somebody")) +
                                " began a " + to_string(second) + " while " +
                                first.scope->task->to_string() + " waits for " + first.describe();
    assertion_failed("the last one has ended", message.c_str(), __FILE__, __LINE__);
}

void used_empty(const char* what) {
    const TaskRecord* task = LoopCore::current_task();
    const std::string message = std::string(what) +
                                " was used that is empty: moved from, or closed" +
                                (task != nullptr ? "; by " + task->to_string() : std::string());
    assertion_failed("it owns a socket", message.c_str(), __FILE__, __LINE__);
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
    constexpr std::int64_t limit_s = 32'767; // the kernel's (MAX_TCP_KEEPIDLE)
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
