// Echo with Boost.Fiber: one fiber per connection. The library has no sockets, but takes a
// scheduling algorithm; this one waits in epoll when no fiber is ready.

#include "peer.hpp"

#include <arpa/inet.h>
#include <boost/fiber/all.hpp>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace fibers = boost::fibers;
static constexpr std::size_t stack_bytes = 65536;

/// A non-blocking descriptor and the fiber that waits for it.
struct Socket {
    int descriptor;
    fibers::context* waiting = nullptr;

    /// Tries until the kernel has an answer. epoll reports only changes, so no fiber waits before it has tried.
    template <class Operation>
    ssize_t finish(Operation operation) {
        for (;;) {
            ssize_t answer = operation(descriptor);
            if (answer >= 0 || errno != EAGAIN) return answer;
            waiting = fibers::context::active();
            waiting->suspend();
        }
    }
};

class Poller : public fibers::algo::round_robin {
public:
    explicit Poller(int poll) : poll_(poll) {}

    /// No fiber here waits for a time, and no other thread wakes this one.
    void suspend_until(const std::chrono::steady_clock::time_point&) noexcept override {
        epoll_event ready[512];
        int count = epoll_wait(poll_, ready, 512, -1);
        for (int index = 0; index < count; index++) {
            auto* socket = static_cast<Socket*>(ready[index].data.ptr);
            fibers::context* fiber = std::exchange(socket->waiting, nullptr);
            if (fiber != nullptr) fibers::context::active()->schedule(fiber);
        }
    }

private:
    int poll_;
};

static void watch(int poll, Socket& socket) {
    epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = &socket}};
    epoll_ctl(poll, EPOLL_CTL_ADD, socket.descriptor, &event);
}

static void echo(int poll, int descriptor) {
    Socket socket{descriptor};
    watch(poll, socket);
    char bytes[peer_buffer_bytes];
    ssize_t received = 0, sent = 0;
    do {
        received = socket.finish([&](int from) { return recv(from, bytes, sizeof bytes, 0); });
        for (ssize_t done = 0; done < received && sent >= 0; done += sent) {
            auto rest = static_cast<std::size_t>(received - done);
            sent =
                socket.finish([&](int to) { return send(to, bytes + done, rest, MSG_NOSIGNAL); });
        }
    } while (received > 0 && sent >= 0);
    close(descriptor);
}

int main(int argc, char** argv) {
    unsigned short port = peer_port(argc, argv);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    Socket listener{socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    setsockopt(listener.descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener.descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // inherited
    if (listener.descriptor < 0 ||
        bind(listener.descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
        listen(listener.descriptor, peer_backlog) < 0)
        peer_fail(port, errno);

    int poll = epoll_create1(EPOLL_CLOEXEC);
    watch(poll, listener);
    fibers::use_scheduling_algorithm<Poller>(poll);
    fibers::pooled_fixedsize_stack stacks(stack_bytes);
    for (;;) {
        auto connection = static_cast<int>(listener.finish([](int from) {
            return accept4(from, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }));
        if (connection < 0 && errno != ECONNABORTED) peer_fail(port, errno);
        if (connection >= 0)
            fibers::fiber(std::allocator_arg, stacks, echo, poll, connection).detach();
    }
}
