#include <ringlet/thread_channel.hpp>

#include "net.hpp"

#include <array>
#include <optional>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("many threads send through a small channel, and each thread's order is kept") {
    constexpr int threads = 4;
    constexpr int values = 200;
    ReportingLoop loop;
    ThreadChannel<std::array<int, 2>> channel(*loop, 3);
    std::vector<std::thread> senders;
    for (int id = 0; id < threads; ++id) {
        senders.emplace_back([id, sender = channel.sender()]() mutable {
            for (int i = 0; i < values; ++i) static_cast<void>(sender.send({id, i}));
        });
    }
    auto result = loop->run([&]() -> Task<> {
        std::array<int, threads> next{};
        for (int i = 0; i < threads * values; ++i) {
            auto got = co_await channel.recv();
            CHECK_MESSAGE(got, got.error().message());
            if (!got) break;
            CHECK((*got)[1] == next[static_cast<std::size_t>((*got)[0])]++);
        }
    });
    channel.close(); // ends a sender that still waits for room
    for (std::thread& thread : senders) thread.join();
    CHECK(result);
}

TEST_CASE("try_send refuses when full; close keeps queued values; senders may outlive it") {
    ReportingLoop loop;
    std::optional<ThreadChannel<int>> channel(std::in_place, *loop, 1);
    auto sender = channel->sender();
    CHECK(sender.try_send(1));
    CHECK(sender.try_send(2).error() == std::errc::resource_unavailable_try_again);
    channel->close();
    CHECK(sender.send(3).error() == Errc::channel_closed);
    auto result = loop->run([&]() -> Task<> {
        auto got = co_await channel->recv();
        REQUIRE(got);
        CHECK(*got == 1);
        auto end = co_await channel->recv();
        CHECK(end.error() == Errc::channel_closed);
    });
    CHECK(result);
    channel.reset();
    CHECK(sender.send(4).error() == Errc::channel_closed);
}

TEST_CASE("a cancelled recv ends, and leaves the channel usable") {
    ReportingLoop loop;
    ThreadChannel<int> channel(*loop, 1);
    auto result = loop->run([&]() -> Task<> {
        auto receive = [&]() -> Task<Result<int>> {
            auto got = co_await channel.recv();
            co_return got;
        };
        auto cut = co_await with_timeout(1ms, receive);
        CHECK(cut.error() == std::errc::timed_out);
        CHECK(channel.sender().try_send(5));
        auto got = co_await channel.recv();
        REQUIRE(got);
        CHECK(*got == 5);
    });
    CHECK(result);
}

TEST_CASE("a sender that waits for room continues when there is room or the channel closes") {
    ReportingLoop loop;
    ThreadChannel<int> channel(*loop, 1);
    std::error_code last;
    std::thread thread([&last, sender = channel.sender()]() mutable {
        for (int i = 1; i <= 3 && !last; ++i) last = sender.send(int(i)).error();
    });
    waiting_for("a thread that sends three values into a channel of one");
    auto result = loop->run([&]() -> Task<> {
        auto first = co_await channel.recv();
        CHECK(first.value() == 1);
        auto second = co_await channel.recv();
        CHECK(second.value() == 2);
        auto third = co_await channel.recv();
        CHECK(third.value() == 3);
    });
    thread.join();
    CHECK(result);
    CHECK_FALSE(last);

    std::error_code cut;
    auto filled = channel.sender().try_send(4);
    CHECK(filled);
    std::thread blocked(
        [&cut, sender = channel.sender()]() mutable { cut = sender.send(5).error(); });
    channel.close();
    blocked.join();
    CHECK(cut == Errc::channel_closed);
}
