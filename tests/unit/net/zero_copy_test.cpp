// Sending without a copy: where the kernel can, and where it cannot.

#include "net.hpp"

#include <ringlet/error.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

bool is_on_io_uring(const EventLoop& loop) { return loop.backend().backend == Backend::io_uring; }

// Sends to a slow reader, and overwrites the memory right after the await.
struct Transfer {
    explicit Transfer(FdPair pair, std::size_t size_bytes = 3'000'000)
        : stream(std::move(pair.first)), peer(std::move(pair.second)), bytes(pattern(size_bytes)),
          expected(bytes) {}

    Task<> send() {
        auto sent = co_await stream.send_all_zero_copy(bytes);
        CHECK(sent);
        CHECK(stream.last_sent_bytes() == bytes.size());
        std::ranges::fill(bytes, std::byte{0});
        CHECK(stream.shutdown_write());
    }
    Task<> receive() {
        for (;;) {
            auto piece = co_await peer.recv();
            REQUIRE(piece);
            if (piece->empty()) co_return;
            received.insert(received.end(), piece->begin(), piece->end());
            static_cast<void>(co_await yield());
        }
    }
    Task<> both() {
        auto start = [this](TaskGroup& group) -> Task<> {
            group.spawn([this] { return send(); });
            group.spawn([this] { return receive(); });
            co_return;
        };
        auto done = co_await with_task_group(start);
        CHECK(done);
    }

    TcpStream stream;
    TcpStream peer;
    std::vector<std::byte> bytes;
    std::vector<std::byte> expected;
    std::vector<std::byte> received;
};

} // namespace

TEST_CASE("zero copy: memory may be overwritten after the await") {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    Transfer transfer(tcp_pair());
    waiting_for("three megabytes to arrive");
    auto done = loop->run([&] { return transfer.both(); });
    CHECK(done);
    CHECK(transfer.received == transfer.expected);
    const RingStats ring = loop->stats().ring;
    CHECK(ring.copied_zero_copy_sends <= ring.zero_copy_sends);
}

TEST_CASE("zero copy: it is used where the kernel supports it, and not where it is switched off") {
    for (const bool wanted : {true, false}) {
        LoopOptions options;
        options.features.zero_copy_send = wanted;
        auto loop = EventLoop::create(options);
        REQUIRE(loop);
        Transfer transfer(tcp_pair(), 100'000);
        auto done = loop->run([&] { return transfer.both(); });
        CHECK(done);
        CHECK(transfer.received == transfer.expected);
        const auto sends = loop->stats().ring.zero_copy_sends;
        if (!wanted || !is_on_io_uring(*loop)) {
            CHECK(sends == 0);
        } else if (sends == 0) {
            RINGLET_SKIP("this kernel sends nothing without a copy (Linux 6.2), or it is off");
        }
    }
}

TEST_CASE("zero copy: a socket that does not support it still sends") {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    Transfer transfer(socket_pair(), 300'000);
    auto done = loop->run([&] { return transfer.both(); });
    CHECK(done);
    CHECK(transfer.received == transfer.expected);
    CHECK(loop->stats().ring.zero_copy_sends == 0);
}

TEST_CASE(
    "zero copy: a cancelled send ends when the memory is free, and reports how much was sent") {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    auto pair = tcp_pair();
    std::size_t sent_bytes = 0;
    auto body = [&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        std::vector<std::byte> bytes = pattern(20'000'000); // more than the kernel takes
        auto send = [&]() -> Task<> {
            auto sent = co_await stream.send_all_zero_copy(bytes);
            CHECK(sent.error() == std::errc::operation_canceled);
        };
        auto with_reader = [&](TaskGroup& group) -> Task<> {
            auto sender = group.spawn(send);
            static_cast<void>(co_await sleep_for(5ms));
            sender.cancel(CancelReason::requested);
            // The kernel uses the sent memory until the peer has received it.
            std::vector<std::byte> scratch(1 << 20);
            TcpStream peer(std::move(pair.second));
            std::size_t received = 0;
            while (!sender.done()) {
                auto read = [&]() -> Task<> {
                    auto got = co_await peer.recv(scratch);
                    if (got) received += *got;
                };
                static_cast<void>(co_await with_timeout(5ms, read));
            }
            sent_bytes = stream.last_sent_bytes();
            CHECK(sent_bytes < bytes.size());
            CHECK(received <= sent_bytes);
        };
        auto done = co_await with_task_group(with_reader);
        CHECK(done);
    };
    waiting_for("a send that was cancelled, and its peer's acknowledgement");
    auto done = loop->run(body);
    CHECK(done);
    CHECK(sent_bytes > 0);
}

TEST_CASE("zero copy: a send after the peer's reset is an error, and an empty send succeeds") {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    auto pair = tcp_pair();
    auto body = [&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        auto nothing = co_await stream.send_all_zero_copy({});
        CHECK(nothing);
        reset_on_close(pair.second.get());
        pair.second.reset();
        const auto bytes = pattern(1'000'000);
        std::error_code error;
        for (int i = 0; i < 3 && !error; ++i) {
            auto sent = co_await stream.send_all_zero_copy(bytes);
            error = sent.error();
        }
        const bool is_gone =
            error == std::errc::broken_pipe || error == std::errc::connection_reset;
        CHECK_MESSAGE(is_gone, error.message());
    };
    auto done = loop->run(body);
    CHECK(done);
}
