// A fiber with a stack of its own per connection, on the loop of the C peer: unlike a coroutine, it
// keeps a whole stack while it waits, and a switch saves registers.

#include "../peers/uring_loop.h"
#include "ladder.hpp"

#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>

#include <cstddef>
#include <utility>

namespace context = boost::context;

namespace {

constexpr std::size_t buffer_bytes = 16 * 1024;
constexpr std::size_t stack_bytes = 32 * 1024; // the buffer lies on it

} // namespace

// Lies on the fiber's own stack.
struct connection {
    operation waits;
    context::fiber loop; // suspended while we run, and empty while it runs
    context::fiber self;
    int result;
};

namespace {

// A fiber's submission has finished: the fiber runs until it submits again, or ends.
void go_on(connection* waiting, int result, unsigned) {
    waiting->result = result;
    context::fiber fiber = std::move(waiting->self).resume();
    if (fiber) waiting->self = std::move(fiber); // otherwise it has ended, and its stack is gone
}

// Suspends the fiber until its submission has finished.
int wait_for(connection& self, io_uring_sqe* entry) {
    io_uring_sqe_set_data(entry, &self.waits);
    self.loop = std::move(self.loop).resume();
    return self.result;
}

int receive(connection& self, int descriptor, char* bytes) {
    for (;;) {
        io_uring_sqe* entry = next_entry();
        io_uring_prep_recv(entry, descriptor, bytes, buffer_bytes, 0);
        const int received = wait_for(self, entry);
        if (received != -EINTR && received != -EAGAIN) return received;
    }
}

bool send_all(connection& self, int descriptor, const char* bytes, unsigned count) {
    while (count > 0) {
        io_uring_sqe* entry = next_entry();
        io_uring_prep_send(entry, descriptor, bytes, count, MSG_NOSIGNAL);
        const int sent = wait_for(self, entry);
        if (sent < 0 && !passes(sent)) return false;
        if (sent <= 0) continue;
        bytes += sent;
        count -= static_cast<unsigned>(sent);
    }
    return true;
}

void echo(connection& self, int descriptor) {
    char bytes[buffer_bytes];
    for (;;) {
        const int received = receive(self, descriptor, bytes);
        if (received <= 0) break;
        if (!send_all(self, descriptor, bytes, static_cast<unsigned>(received))) break;
    }
    ::close(descriptor);
}

} // namespace

static void connected(int descriptor) {
    static context::pooled_fixedsize_stack stacks(stack_bytes);
    connection* made = nullptr;
    context::fiber fiber(std::allocator_arg, stacks, [&made, descriptor](context::fiber&& loop) {
        connection self{{go_on, nullptr}, std::move(loop), {}, 0};
        self.waits.connection = &self;
        made = &self;
        const int own_descriptor = descriptor;
        echo(self, own_descriptor);
        return std::move(self.loop);
    });
    fiber = std::move(fiber).resume(); // up to its first receive
    if (fiber) made->self = std::move(fiber);
}

int serve_fibers(const Settings& settings) {
    std::string name = "ladder", port = std::to_string(settings.port);
    char* arguments[] = {name.data(), port.data()};
    start_loop(peer_listen(2, arguments));
    for (;;) turn(false);
}
