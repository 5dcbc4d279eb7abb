// The epoll ring without a loop. Running the whole suite with RINGLET_BACKEND=epoll tests loops and
// sockets on it.

#include "ring/epoll/epoll_ring.hpp"

#include "net.hpp"
#include "request.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<Ring> make_ring() {
    auto ring = make_epoll_ring({});
    REQUIRE_MESSAGE(ring, ring.error().message());
    return std::move(*ring);
}

// Results that came while the test waited for another one.
std::map<const Operation*, int> kept_answers;

// Waits for the result of `request`; nullopt if none comes within `limit`.
std::optional<int> answer(Ring& ring, Request& request, Clock::duration limit = 10s) {
    const auto deadline = Clock::now() + limit;
    while (kept_answers.count(&request.operation) == 0) {
        for (const auto& completion : ring.wait(deadline)) {
            kept_answers[completion.operation] = completion.result;
        }
        if (Clock::now() >= deadline) break;
    }
    const auto found = kept_answers.extract(&request.operation);
    if (found.empty()) return std::nullopt;
    request.operation.state = Operation::State::idle;
    return found.mapped();
}

} // namespace

TEST_CASE("EpollRing makes no epoll_ctl per message") {
    const auto ring = make_ring();
    const auto pair = socket_pair();
    Request request;
    for (int i = 0; i < 10; ++i) {
        const auto before = ring->stats().system_calls;
        request.start(*ring, Opcode::recv, pair.first.get());
        REQUIRE(write_all(pair.second.get(), "ping"));
        CHECK(answer(*ring, request) == 4);
        request.start(*ring, Opcode::send, pair.first.get());
        CHECK(answer(*ring, request) == 64);
        REQUIRE(read_up_to(pair.second.get(), 64).size() == 64);
        // One to wait, one to receive, one to send; the first time one more to register.
        CHECK(ring->stats().system_calls - before == (i == 0 ? 4 : 3));
    }
}

TEST_CASE("EpollRing delays a send until there is room") {
    const auto ring = make_ring();
    const auto pair = socket_pair();
    Request request;
    std::size_t sent_bytes = 0;
    for (;;) {
        request.start(*ring, Opcode::send, pair.first.get());
        const auto sent = answer(*ring, request, 5ms);
        if (!sent) break; // full
        REQUIRE(*sent > 0);
        sent_bytes += static_cast<std::size_t>(*sent);
    }
    CHECK(read_up_to(pair.second.get(), sent_bytes).size() == sent_bytes);
    CHECK(answer(*ring, request) == 64);
}

TEST_CASE("EpollRing hands a flood over in several waits, and polls the kernel between them") {
    const auto ring = make_ring();
    const UniqueFd event(::eventfd(1, EFD_CLOEXEC));
    Request reading;
    std::vector<FdPair> pairs;
    std::vector<Request> sends(600);
    for (std::size_t i = 0; i < sends.size(); ++i) pairs.push_back(socket_pair());
    reading.start(*ring, Opcode::read, event.get());
    for (std::size_t i = 0; i < sends.size(); ++i) {
        sends[i].start(*ring, Opcode::send, pairs[i].first.get());
    }
    std::size_t given = 0;
    bool read_early = false;
    for (int waits = 0; waits < 10 && given < sends.size() + 1; ++waits) {
        const auto completions = ring->wait(Clock::now());
        CHECK(completions.size() <= Ring::completions_per_wait_limit);
        given += completions.size();
        for (const auto& completion : completions) {
            if (completion.operation == &reading.operation) read_early = true;
        }
    }
    CHECK(given == sends.size() + 1);
    CHECK(read_early);
}

TEST_CASE("EpollRing reports an invalid descriptor, and reads a file") {
    const auto ring = make_ring();
    Request request;
    request.start(*ring, Opcode::recv, -1);
    CHECK(answer(*ring, request) == -EBADF);
    const UniqueFd file(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    REQUIRE(file);
    request.start(*ring, Opcode::read, file.get());
    CHECK(answer(*ring, request) == 64);
}

TEST_CASE("EpollRing keeps the place of a receive that waits for a buffer, whatever event comes") {
    auto made = make_epoll_ring({.buffer_limit = 1});
    REQUIRE(made);
    Ring& ring = **made;
    struct Receive {
        FdPair fds = socket_pair();
        Operation operation;
        void start(Ring& on) {
            operation.configure(Opcode::recv_buffer, fds.first.get(), nullptr,
                                Buffer::capacity_bytes);
            operation.state = Operation::State::in_flight;
            on.start(operation);
        }
    };
    Receive holder;
    Receive ended;
    Receive waiting;
    for (Receive* receive : {&holder, &ended, &waiting}) {
        REQUIRE(write_all(receive->fds.second.get(), "x"));
    }
    std::map<const Operation*, int> answers;
    const auto look = [&] {
        for (int i = 0; i < 4; ++i) {
            for (const Completion& completion : ring.wait(Clock::now())) {
                CHECK(answers.count(completion.operation) == 0);
                answers[completion.operation] = completion.result;
            }
        }
    };
    const auto drop = [](Receive& receive) {
        Buffer::give_back(static_cast<std::byte*>(std::exchange(receive.operation.data, nullptr)));
    };
    holder.start(ring);
    look();
    CHECK(answers.size() == 1);
    ended.start(ring);
    waiting.start(ring);
    look();
    CHECK(answers.size() == 1);

    // The first one finds the end of stream and needs no buffer; the second gets an event.
    std::array<char, 1> read{};
    REQUIRE(::read(ended.fds.first.get(), read.data(), 1) == 1);
    REQUIRE(::shutdown(ended.fds.second.get(), SHUT_WR) == 0);
    REQUIRE(write_all(waiting.fds.second.get(), "y"));
    // If something has finished, only every second wait asks epoll: not this one, but the next.
    Request sending;
    sending.start(ring, Opcode::send, holder.fds.second.get());
    CHECK(ring.wait(Clock::now()).size() == 1);
    drop(holder);
    look();
    CHECK(answers[&ended.operation] == 0);
    CHECK(answers[&waiting.operation] == 2);
    drop(waiting);
    look(); // nothing is waiting
    CHECK(answers.size() == 3);
    CHECK(ring.stats().buffer_shortages == 2);
}
