#include <ringlet/event_loop.hpp>

#include "net.hpp"

#include <array>
#include <string>
#include <system_error>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

struct Endings {
    std::vector<std::error_code> errors;
    int alive = 0;
};

Task<> note_recv(Endings& endings, TcpStream stream) {
    const Counted local(endings.alive);
    auto received = co_await stream.recv();
    endings.errors.push_back(received.error());
}

Task<> note_recv_into(Endings& endings, TcpStream stream) {
    const Counted local(endings.alive);
    std::array<std::byte, 64> memory{};
    auto received = co_await stream.recv_exactly(memory);
    endings.errors.push_back(received.error());
}

Task<> note_send(Endings& endings, TcpStream stream) {
    const Counted local(endings.alive);
    const std::vector<std::byte> much(std::size_t{64} << 20);
    auto sent = co_await stream.send_all(much);
    endings.errors.push_back(sent.error());
}

Task<> note_accept(Endings& endings, TcpListener listener) {
    const Counted local(endings.alive);
    auto accepted = co_await listener.accept();
    endings.errors.push_back(accepted.error());
}

Task<> note_connect(Endings& endings, Endpoint peer) {
    const Counted local(endings.alive);
    auto connected = co_await TcpStream::connect(peer);
    endings.errors.push_back(connected.error());
}

Task<> note_sleep(Endings& endings) {
    const Counted local(endings.alive);
    auto slept = co_await sleep_for(1h);
    endings.errors.push_back(slept.error());
}

} // namespace

TEST_CASE("when the root returns, every waiting task gets operation_canceled and ends") {
    const std::size_t open_before = descriptor_count();
    {
        ReportingLoop loop;
        Endings endings;
        auto receiving = tcp_pair();
        auto receiving_exactly = socket_pair();
        auto sending = tcp_pair();
        // A listener with a full queue: further connects get no answer.
        const UniqueFd full = bound_socket(loopback(), 0);
        const UniqueFd first = connect_to(address_of(full.get()));
        REQUIRE(first);

        auto result = loop->run([&]() -> Task<> {
            loop->spawn(note_recv, std::ref(endings), TcpStream(std::move(receiving.first)));
            loop->spawn(note_recv_into, std::ref(endings),
                        TcpStream(std::move(receiving_exactly.first)));
            loop->spawn(note_send, std::ref(endings), TcpStream(std::move(sending.first)));
            auto listener = TcpListener::bind(loopback());
            CHECK(listener);
            loop->spawn(note_accept, std::ref(endings), std::move(*listener));
            loop->spawn(note_connect, std::ref(endings), address_of(full.get()));
            loop->spawn(note_sleep, std::ref(endings));
            while (endings.alive < 6) static_cast<void>(co_await yield());
            const LoopStats stats = loop->stats();
            CHECK(stats.operations_in_flight == 5);
            CHECK(stats.armed_timers == 1);
            CHECK(stats.live_tasks == 7);
        });
        CHECK(result);
        CHECK(endings.alive == 0);
        CHECK(endings.errors.size() == 6);
        for (const std::error_code error : endings.errors) {
            CHECK(error == std::errc::operation_canceled);
        }
        check_nothing_left(*loop);
        CHECK(loop.reports.empty());
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("every await after the cancellation of a task is refused at once") {
    ReportingLoop loop;
    std::vector<std::error_code> errors;
    auto pair = socket_pair();
    std::uint64_t submissions_before = 0;
    std::uint64_t submissions_after = 0;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                auto slept = co_await sleep_for(1h);
                errors.push_back(slept.error());
                submissions_before = loop->stats().ring.submissions;
                auto received = co_await stream.recv();
                errors.push_back(received.error());
                std::array<std::byte, 8> memory{};
                auto exact = co_await stream.recv_exactly(memory);
                errors.push_back(exact.error());
                auto sent = co_await stream.send_all(memory);
                errors.push_back(sent.error());
                auto again = co_await sleep_for(0s);
                errors.push_back(again.error());
                auto turned = co_await yield();
                errors.push_back(turned.error());
                auto connected = co_await TcpStream::connect(loopback("127.0.0.1:1"));
                errors.push_back(connected.error());
                submissions_after = loop->stats().ring.submissions;
            },
            TcpStream(std::move(pair.first)));
        while (loop->stats().armed_timers == 0) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(errors.size() == 7);
    for (const std::error_code error : errors) CHECK(error == std::errc::operation_canceled);
    CHECK(submissions_before == submissions_after);
    check_nothing_left(*loop);
}

TEST_CASE("a task spawned while the loop is left never starts, and its arguments are destroyed") {
    ReportingLoop loop;
    int alive = 0;
    bool started = false;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            static_cast<void>(co_await sleep_for(1h));
            loop->spawn(
                [&](Counted) -> Task<> {
                    started = true;
                    co_return;
                },
                Counted(alive));
        });
        while (loop->stats().armed_timers == 0) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK_FALSE(started);
    CHECK(alive == 0);
    check_nothing_left(*loop);
}

TEST_CASE("a task that ignores its cancellation does not hold the loop") {
    ReportingLoop loop;
    int alive = 0;
    auto pair = socket_pair();
    auto ignore_in_yield = [&]() -> Task<> {
        const Counted local(alive);
        for (;;) static_cast<void>(co_await yield());
    };
    auto ignore_in_sleep = [&]() -> Task<> {
        const Counted local(alive);
        for (;;) static_cast<void>(co_await sleep_for(1ms));
    };
    auto ignore_in_recv = [&](TcpStream stream) -> Task<> {
        const Counted local(alive);
        for (;;) static_cast<void>(co_await stream.recv());
    };
    auto child = [&]() -> Task<> {
        const Counted local(alive);
        static_cast<void>(co_await sleep_for(1ms));
    };
    auto ignore_in_child = [&]() -> Task<> {
        const Counted local(alive);
        for (;;) co_await child();
    };
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(ignore_in_yield);
        loop->spawn(ignore_in_sleep);
        loop->spawn(ignore_in_recv, TcpStream(std::move(pair.first)));
        loop->spawn(ignore_in_child);
        while (alive < 5) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(alive == 0);
    CHECK(loop.reports.size() == 4); // once each
    for (const std::string& line : loop.reports) {
        CHECK(line.find("was cancelled, was told so 1000 times") != std::string::npos);
    }
    CHECK(end_of(pair.second.get()) == 0);
    check_nothing_left(*loop);
}

TEST_CASE("a root that ignores a stop is destroyed where it is suspended") {
    ReportingLoop loop;
    int alive = 0;
    auto result = loop->run([&]() -> Task<int> {
        const Counted local(alive);
        loop->stop();
        for (;;) static_cast<void>(co_await yield());
    });
    CHECK(result.error() == std::errc::operation_canceled);
    CHECK(alive == 0);
    CHECK(loop.reports.size() == 1);
    check_nothing_left(*loop);
}

TEST_CASE("leaving with more operations in flight than the ring has entries cancels them all") {
    constexpr std::size_t pair_count = 200;
    ReportingLoop loop(4);
    std::vector<FdPair> pairs;
    for (std::size_t i = 0; i < pair_count; ++i) pairs.push_back(socket_pair());
    Endings endings;
    auto result = loop->run([&]() -> Task<> {
        for (FdPair& pair : pairs) {
            loop->spawn(note_recv, std::ref(endings), TcpStream(std::move(pair.first)));
        }
        while (loop->stats().operations_in_flight < pair_count) {
            static_cast<void>(co_await yield());
        }
    });
    CHECK(result);
    CHECK(endings.errors.size() == pair_count);
    CHECK(endings.alive == 0);
    for (const FdPair& pair : pairs) CHECK(end_of(pair.second.get()) == 0);
    check_nothing_left(*loop);
}
