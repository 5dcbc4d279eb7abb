// Which receive gets the data of a multishot: first without a kernel, then on the real one.

#include "ring/uring/multishot_receive.hpp"

#include "base/buffer_pool.hpp"
#include "net.hpp"
#include "ring/uring/provided_buffers.hpp"

#include <ringlet/error.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

using Request = MultishotReceiver::Request;
constexpr bool more = true;
constexpr bool last = false;

std::byte* block_of(std::string_view text) {
    std::byte* block = Buffer::borrow();
    std::memcpy(block, text.data(), text.size());
    return block;
}

// One receiver, and the operations of one connection.
struct Connection {
    MultishotReceiver::Step start() {
        lent.consume();
        lent.configure(Opcode::recv_buffer, 7, nullptr, Buffer::capacity_bytes);
        return receiver.start(lent);
    }
    MultishotReceiver::Step start_plain(std::size_t size_bytes) {
        plain.consume();
        plain.configure(Opcode::recv, 7, memory.data(), size_bytes);
        return receiver.start(plain);
    }
    MultishotReceiver::Step comes(std::string_view text, bool goes_on = more) {
        return receiver.answer(static_cast<std::int32_t>(text.size()), goes_on, block_of(text));
    }
    // What the receive with a lent buffer got.
    std::string got(const MultishotReceiver::Step& step) {
        CHECK(step.operation == &lent);
        if (step.result <= 0) return std::to_string(step.result);
        const Buffer taken(static_cast<std::byte*>(lent.data),
                           static_cast<std::size_t>(step.result));
        return {reinterpret_cast<const char*>(taken.data()), taken.size()};
    }
    std::string got_plain(const MultishotReceiver::Step& step) {
        CHECK(step.operation == &plain);
        if (step.result <= 0) return std::to_string(step.result);
        return {reinterpret_cast<const char*>(memory.data()),
                static_cast<std::size_t>(step.result)};
    }

    MultishotReceiver receiver{7};
    Operation lent;
    Operation plain;
    std::array<std::byte, 64> memory{};
};

} // namespace

TEST_CASE("MultishotReceiver: one submission serves one receive after another") {
    Connection connection;
    CHECK(connection.receiver.is_quiet());
    const auto first = connection.start();
    CHECK(first.request == Request::arm);
    CHECK(first.operation == nullptr);
    CHECK(connection.got(connection.comes("one")) == "one");
    for (int i = 0; i < 5; ++i) {
        CHECK(connection.start().request == Request::nothing);
        CHECK(connection.got(connection.comes("next")) == "next");
    }
    CHECK(connection.receiver.is_armed());
}

TEST_CASE("MultishotReceiver: data without a waiting receive is kept in order, and bounded") {
    const auto before = Buffer::lent_count();
    {
        Connection connection;
        static_cast<void>(connection.start());
        CHECK(connection.got(connection.comes("0")) == "0");
        for (std::size_t i = 1; i < MultishotReceiver::ahead_limit; ++i) {
            CHECK(connection.comes(std::to_string(i)).request == Request::nothing);
        }
        CHECK(connection.comes("4").request == Request::take_back);
        CHECK(connection.comes("5").request == Request::nothing); // once, and nothing is lost
        CHECK(connection.receiver.answer(-ECANCELED, last, nullptr).request == Request::nothing);
        for (const char* expected : {"1", "2", "3"})
            CHECK(connection.got(connection.start()) == expected);
        CHECK(connection.receiver.ahead_count() == 2);
    }
    CHECK(Buffer::lent_count() == before);
}

TEST_CASE("MultishotReceiver: it is armed again when the kept data has been consumed") {
    Connection connection;
    static_cast<void>(connection.start());
    CHECK(connection.got(connection.comes("a", last)) == "a");
    CHECK_FALSE(connection.receiver.is_armed());
    CHECK(connection.receiver.is_quiet());
    CHECK(connection.start().request == Request::arm);
    CHECK(connection.receiver.answer(-ECANCELED, last, nullptr).request == Request::arm);
    CHECK(connection.got(connection.comes("b")) == "b");
}

TEST_CASE("MultishotReceiver: the end or an error comes after the data") {
    for (const std::int32_t end : {0, -ECONNRESET}) {
        Connection connection;
        static_cast<void>(connection.start());
        CHECK(connection.got(connection.comes("a")) == "a");
        static_cast<void>(connection.comes("b"));
        CHECK(connection.receiver.answer(end, last, nullptr).operation == nullptr);
        CHECK_FALSE(connection.receiver.is_armed());
        CHECK(connection.got(connection.start()) == "b");
        CHECK(connection.got(connection.start()) == std::to_string(end));
        CHECK(connection.start().request == Request::arm);
        CHECK(connection.got(connection.receiver.answer(end, last, nullptr)) ==
              std::to_string(end));
    }
}

TEST_CASE("MultishotReceiver: a cancelled receive loses nothing") {
    Connection connection;
    static_cast<void>(connection.start());
    CHECK(connection.got(connection.receiver.cancel()) == std::to_string(-ECANCELED));
    CHECK(connection.receiver.waiting() == nullptr);
    CHECK(connection.comes("late").operation == nullptr);
    CHECK(connection.got(connection.start()) == "late");
}

TEST_CASE("MultishotReceiver: it waits for a buffer only while a receive waits") {
    Connection connection;
    static_cast<void>(connection.start());
    const auto step = connection.receiver.answer(-ENOBUFS, last, nullptr);
    CHECK(step.request == Request::wait_for_buffer);
    CHECK(step.operation == &connection.lent);
    CHECK(connection.start().request == Request::arm);
    static_cast<void>(connection.receiver.cancel());
    CHECK(connection.receiver.answer(-ENOBUFS, last, nullptr).request == Request::nothing);
    CHECK(connection.receiver.is_quiet());
}

TEST_CASE("MultishotReceiver: on a kernel without multishot each receive is submitted on its own") {
    Connection connection;
    static_cast<void>(connection.start());
    const auto step = connection.receiver.answer(-EINVAL, last, nullptr);
    CHECK(step.request == Request::single_shot);
    CHECK(step.operation == &connection.lent);
    CHECK(connection.start().request == Request::single_shot);
}

TEST_CASE("MultishotReceiver: EINVAL after a success is an error of the receive") {
    Connection connection;
    static_cast<void>(connection.start());
    CHECK(connection.got(connection.comes("a")) == "a");
    CHECK(connection.start().request == Request::nothing);
    CHECK(connection.got(connection.receiver.answer(-EINVAL, last, nullptr)) ==
          std::to_string(-EINVAL));
}

TEST_CASE("MultishotReceiver: a receive into its own memory gets the kept data, in pieces") {
    Connection connection;
    static_cast<void>(connection.start());
    CHECK(connection.got(connection.comes("a")) == "a");
    static_cast<void>(connection.comes("bcdef"));
    CHECK(connection.got_plain(connection.start_plain(2)) == "bc");
    CHECK(connection.got(connection.start()) == "def");
    static_cast<void>(connection.comes("gh"));
    CHECK(connection.got_plain(connection.start_plain(10)) == "gh");
}

TEST_CASE("MultishotReceiver: a receive into its own memory waits until the multishot has ended") {
    Connection connection;
    CHECK(connection.start_plain(10).request == Request::single_shot);
    static_cast<void>(connection.start());
    CHECK(connection.got(connection.comes("a")) == "a");
    CHECK(connection.start_plain(10).request == Request::take_back);
    SUBCASE("nothing came") {
        const auto step = connection.receiver.answer(-ECANCELED, last, nullptr);
        CHECK(step.request == Request::single_shot);
        CHECK(step.operation == &connection.plain);
    }
    SUBCASE("data came") { CHECK(connection.got_plain(connection.comes("b")) == "b"); }
    SUBCASE("the end came") {
        CHECK(connection.got_plain(connection.receiver.answer(0, last, nullptr)) == "0");
    }
    SUBCASE("there was no buffer") {
        const auto step = connection.receiver.answer(-ENOBUFS, last, nullptr);
        CHECK(step.request == Request::single_shot);
    }
    SUBCASE("it was cancelled") {
        CHECK(connection.got_plain(connection.receiver.cancel()) == std::to_string(-ECANCELED));
        CHECK(connection.receiver.answer(-ECANCELED, last, nullptr).request == Request::nothing);
        CHECK(connection.receiver.is_quiet());
    }
}

// ---- on the real kernel -------------------------------------------------------------------------

namespace {

Result<EventLoop> multishot_loop() {
    LoopOptions options;
    options.features.multishot_receive = true;
    return EventLoop::create(options);
}

bool has_multishot(const Result<EventLoop>& loop) {
    if (!loop || loop->backend().backend != Backend::io_uring) return false;
    auto queues = UringQueues::create(8, {});
    return queues && ProvidedBuffers::create(*queues) != nullptr;
}

constexpr auto no_ring = "io_uring is refused here, or has no provided buffers (Linux 5.19)";

} // namespace

TEST_CASE("multishot: many messages on many connections take few submissions each") {
    auto loop = multishot_loop();
    if (!has_multishot(loop)) RINGLET_SKIP(no_ring);
    constexpr int messages = 50;
    auto body = [&]() -> Task<> {
        auto one = [](int number) -> Task<> {
            auto pair = tcp_pair();
            TcpStream stream(std::move(pair.first));
            for (int i = 0; i < messages; ++i) {
                const std::string text = std::to_string(number) + ":" + std::to_string(i);
                CHECK(write_all(pair.second.get(), text));
                auto got = co_await stream.recv();
                REQUIRE(got);
                CHECK(std::string_view(reinterpret_cast<const char*>(got->data()), got->size()) ==
                      text);
            }
        };
        auto all = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 40; ++i) group.spawn(one, i);
            co_return;
        };
        auto done = co_await with_task_group(all);
        CHECK(done);
    };
    auto done = loop->run(body);
    CHECK(done);
    CHECK(loop->stats().ring.submissions < 40 * messages / 2);
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("multishot: both kinds of receives on one stream, while the peer floods it") {
    auto loop = multishot_loop();
    if (!has_multishot(loop)) RINGLET_SKIP(no_ring);
    auto pair = tcp_pair();
    const auto sent = pattern(400'000);
    std::vector<std::byte> received;
    auto body = [&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        TcpStream peer(std::move(pair.second));
        auto flood = [&]() -> Task<> {
            auto all = co_await peer.send_all(sent);
            CHECK(all);
            CHECK(peer.shutdown_write());
        };
        auto read = [&]() -> Task<> {
            std::array<std::byte, 777> memory{};
            for (;;) {
                auto piece = co_await stream.recv();
                REQUIRE(piece);
                if (piece->empty()) co_return;
                received.insert(received.end(), piece->begin(), piece->end());
                CHECK(Buffer::lent_count() <= 64);
                auto some = co_await stream.recv(memory);
                REQUIRE(some);
                received.insert(received.end(), memory.begin(),
                                memory.begin() + static_cast<std::ptrdiff_t>(*some));
                if (sent.size() - received.size() < memory.size()) continue;
                auto whole = co_await stream.recv_exactly(memory);
                REQUIRE(whole);
                received.insert(received.end(), memory.begin(), memory.end());
            }
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(flood);
            group.spawn(read);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
    };
    auto done = loop->run(body);
    CHECK(done);
    CHECK(received == sent);
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("multishot: a receive that timed out loses no byte for the next one") {
    auto loop = multishot_loop();
    if (!has_multishot(loop)) RINGLET_SKIP(no_ring);
    auto pair = tcp_pair();
    auto body = [&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        std::string received;
        int timeouts = 0;
        auto read = [&]() -> Task<> {
            auto got = co_await stream.recv();
            if (got) received.append(reinterpret_cast<const char*>(got->data()), got->size());
        };
        for (int i = 0; i < 100; ++i) {
            auto in_time = co_await with_timeout(0ms, read);
            timeouts += in_time ? 0 : 1;
            CHECK(write_all(pair.second.get(), std::to_string(i) + ' '));
        }
        CHECK(timeouts > 0);
        std::string expected;
        for (int i = 0; i < 100; ++i) expected += std::to_string(i) + ' ';
        while (received.size() < expected.size()) {
            auto got = co_await stream.recv();
            REQUIRE(got);
            REQUIRE_FALSE(got->empty());
            received.append(reinterpret_cast<const char*>(got->data()), got->size());
        }
        CHECK(received == expected);
    };
    auto done = loop->run(body);
    CHECK(done);
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("multishot: a slow reader holds few buffers, and a dropped stream returns them") {
    auto loop = multishot_loop();
    if (!has_multishot(loop)) RINGLET_SKIP(no_ring);
    auto pair = tcp_pair();
    auto body = [&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        CHECK(write_all(pair.second.get(), "x"));
        auto first = co_await stream.recv();
        CHECK(first);
        for (int i = 0; i < 500; ++i) {
            CHECK(write_all(pair.second.get(), "y"));
            static_cast<void>(co_await sleep_for(0ms));
        }
        // The limit, what was in flight when it was reached, and `first`.
        CHECK(Buffer::lent_count() <=
              2 * static_cast<std::ptrdiff_t>(MultishotReceiver::ahead_limit));
        CHECK(Buffer::lent_count() > 1);
        stream = TcpStream();
        CHECK(Buffer::lent_count() == 1);
    };
    auto done = loop->run(body);
    CHECK(done);
    CHECK(is_ended(pair.second.get()));
}

TEST_CASE("multishot: more connections than buffers are all served") {
    LoopOptions options;
    options.features.multishot_receive = true;
    options.buffer_limit = 3;
    auto loop = EventLoop::create(options);
    if (!has_multishot(loop)) RINGLET_SKIP(no_ring);
    int served = 0;
    auto body = [&]() -> Task<> {
        auto one = [&](FdPair pair) -> Task<> {
            TcpStream stream(std::move(pair.first));
            for (int i = 0; i < 10; ++i) {
                CHECK(write_all(pair.second.get(), "hello"));
                auto got = co_await stream.recv();
                REQUIRE(got);
                static_cast<void>(co_await yield()); // holds it for a turn
                served += static_cast<int>(got->size());
            }
        };
        auto all = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 30; ++i) group.spawn(one, tcp_pair());
            co_return;
        };
        auto done = co_await with_task_group(all);
        CHECK(done);
    };
    waiting_for("thirty connections that share three buffers");
    auto done = loop->run(body);
    CHECK(done);
    CHECK(served == 30 * 10 * 5);
    CHECK(Buffer::lent_count() == 0);
}
