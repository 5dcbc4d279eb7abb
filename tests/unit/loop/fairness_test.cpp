#include <ringlet/event_loop.hpp>

#include "net.hpp"
#include "notification.hpp"

#include <ringlet/testing/simulation.hpp>

#include <array>
#include <string>
#include <system_error>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("more operations in flight than the ring has entries") {
    constexpr std::size_t pair_count = 200;
    ReportingLoop loop(4);
    std::vector<FdPair> pairs;
    for (std::size_t i = 0; i < pair_count; ++i) pairs.push_back(socket_pair());
    std::size_t right = 0;
    std::size_t finished = 0;
    Notification all_finished;
    waiting_for("200 receives on a ring of 4 entries");
    auto result = loop->run([&]() -> Task<> {
        for (std::size_t i = 0; i < pair_count; ++i) {
            loop->spawn(
                [&, i](TcpStream stream) -> Task<> {
                    auto received = co_await stream.recv();
                    if (received && text_of(*received) == std::to_string(i)) ++right;
                    if (++finished == pair_count) all_finished.notify(*loop);
                },
                TcpStream(std::move(pairs[i].first)));
        }
        while (loop->stats().operations_in_flight < pair_count) {
            static_cast<void>(co_await yield());
        }
        for (std::size_t i = 0; i < pair_count; ++i) {
            CHECK(write_all(pairs[i].second.get(), std::to_string(i)));
        }
        co_await all_finished.wait();
    });
    CHECK(result);
    CHECK(right == pair_count);
    const bool has_queue = loop->backend().backend == Backend::io_uring;
    CHECK((loop->stats().ring.full_queue_flushes > 0) == has_queue);
    check_nothing_left(*loop);
}

TEST_CASE("more completions at once than one wait hands over") {
    constexpr std::size_t pair_count = 3 * Ring::completions_per_wait_limit;
    ReportingLoop loop;
    std::vector<FdPair> pairs;
    for (std::size_t i = 0; i < pair_count; ++i) pairs.push_back(socket_pair());
    std::size_t finished = 0;
    Notification all_finished;
    waiting_for("768 receives that complete at once");
    auto result = loop->run([&]() -> Task<> {
        for (FdPair& pair : pairs) {
            loop->spawn(
                [&](TcpStream stream) -> Task<> {
                    auto received = co_await stream.recv();
                    CHECK(received);
                    if (++finished == pair_count) all_finished.notify(*loop);
                },
                TcpStream(std::move(pair.first)));
        }
        while (loop->stats().operations_in_flight < pair_count) {
            static_cast<void>(co_await yield());
        }
        for (const FdPair& pair : pairs) CHECK(write_all(pair.second.get(), "x"));
        co_await all_finished.wait();
    });
    CHECK(result);
    CHECK(finished == pair_count);
}

TEST_CASE("tasks that are always ready starve neither timers nor completions") {
    ReportingLoop loop;
    auto pair = socket_pair();
    bool enough = false;
    waiting_for("a timer and a receive beside tasks that are always ready");
    auto result = loop->run([&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            loop->spawn([&]() -> Task<> {
                while (!enough) {
                    auto turned = co_await yield();
                    if (!turned) co_return;
                }
            });
        }
        TcpStream stream(std::move(pair.first));
        for (int round = 0; round < 20; ++round) {
            auto slept = co_await sleep_for(100us);
            CHECK(slept);
            CHECK(write_all(pair.second.get(), "x"));
            auto received = co_await stream.recv();
            CHECK(received);
        }
        enough = true;
    });
    CHECK(result);
}

TEST_CASE("a ready task costs a system call only once in resumptions_per_wait_limit") {
    ReportingLoop loop;
    constexpr std::uint64_t waits = 20;
    auto result = loop->run([&]() -> Task<std::uint64_t> {
        const auto before = loop->stats().ring.system_calls;
        for (std::uint64_t i = 0; i < waits * LoopCore::resumptions_per_wait_limit; ++i) {
            static_cast<void>(co_await yield());
        }
        co_return loop->stats().ring.system_calls - before;
    });
    REQUIRE(result);
    CHECK(*result >= waits - 1);
    CHECK(*result <= waits + 1);
}

TEST_CASE("the statistics count turns and tasks and resumptions and completions and submissions") {
    ReportingLoop loop;
    auto pair = socket_pair();
    REQUIRE(write_all(pair.second.get(), "x"));
    const LoopStats before = loop->stats();
    CHECK(before.turns == 0);
    CHECK(before.live_tasks == 0);
    auto result = loop->run([&]() -> Task<> {
        CHECK(loop->stats().live_tasks == 1);
        TcpStream stream(std::move(pair.first));
        auto received = co_await stream.recv();
        CHECK(received);
    });
    CHECK(result);
    const LoopStats after = loop->stats();
    CHECK(after.turns >= 2);
    CHECK(after.resumptions == 2);
    CHECK(after.ring.completions >= 1);
    CHECK(after.ring.submissions >= 2); // the receive, and the watch for wakes
    check_nothing_left(*loop);
}

TEST_CASE("a hundred thousand tasks run and leave nothing behind") {
    ReportingLoop loop;
    int ran = 0;
    auto result = loop->run([&]() -> Task<> {
        for (int batch = 0; batch < 100; ++batch) {
            for (int i = 0; i < 1000; ++i) {
                loop->spawn([&]() -> Task<> {
                    ++ran;
                    co_return;
                });
            }
            static_cast<void>(co_await yield());
            static_cast<void>(co_await yield());
            CHECK(loop->stats().live_tasks == 1);
        }
    });
    CHECK(result);
    CHECK(ran == 100'000);
}

TEST_CASE("a loop that gets no descriptor fails with too_many_files_open") {
    const Ending ending = end_of_child([] {
        while (::dup(STDERR_FILENO) >= 0) {
        }
        auto loop = EventLoop::create();
        return !loop && loop.error() == std::errc::too_many_files_open ? 0 : 1;
    });
    CHECK(ending.status == 0);
}

TEST_CASE(
    "a loop polls before it sleeps while waits are short, and stops after a poll without result") {
    const Simulation world(1, FaultSet::none()); // its clock counts polling as time
    auto loop = EventLoop::create({.busy_poll = 50us});
    REQUIRE(loop);
    auto polls_in = [&](std::chrono::microseconds pause, int times) {
        const std::uint64_t before = loop->stats().busy_polls;
        auto ran = loop->run([=]() -> Task<> {
            for (int i = 0; i < times; ++i) static_cast<void>(co_await sleep_for(pause));
        });
        CHECK(ran);
        return loop->stats().busy_polls - before;
    };
    CHECK(polls_in(1s, 10) == 0);
    CHECK(polls_in(20us, 10) == 10 - LoopCore::short_waits_before_busy_poll);
    CHECK(polls_in(1s, 10) == 1);
    CHECK(polls_in(20us, LoopCore::short_waits_before_busy_poll) == 0);
    CHECK(polls_in(20us, 1) == 1);
}

TEST_CASE("a polling loop misses neither completions nor deadlines nor letters") {
    waiting_for("a loop that polls");
    auto loop = EventLoop::create({.busy_poll = 200us});
    REQUIRE(loop);
    auto [one, other] = socket_pair();
    TcpStream mine(std::move(one));
    TcpStream theirs(std::move(other));
    int letters = 0;
    auto ran = loop->run([&]() -> Task<> {
        auto echo = [&]() -> Task<> {
            for (;;) {
                auto chunk = co_await theirs.recv();
                if (!chunk || chunk->empty()) co_return;
                auto sent = co_await theirs.send_all(*chunk);
                if (!sent) co_return;
            }
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(echo);
            std::array<std::byte, 3> memory{};
            for (int i = 0; i < 1000; ++i) {
                if (i % 100 == 0) loop->post([&] { ++letters; });
                if (i % 50 == 0) {
                    const auto pause = i % 100 == 0 ? 1us : 1ms;
                    auto slept = co_await sleep_for(pause);
                    CHECK(slept);
                }
                auto sent = co_await mine.send_all(memory);
                auto received = co_await mine.recv_exactly(memory);
                CHECK(sent);
                CHECK(received);
            }
            group.cancel();
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(ran);
    CHECK(letters == 10);
}

namespace {

void check_that_long_receives_are_parked(bool idle_limited) {
    LoopOptions options;
    options.park_after = 20ms;
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    if (loop->backend().backend != Backend::io_uring) RINGLET_SKIP("only io_uring parks");
    constexpr std::size_t count = 3 * LoopCore::parks_per_turn_limit;
    std::size_t received = 0;
    const auto lent_before = Buffer::lent_count();
    auto result = loop->run([&]() -> Task<> {
        std::vector<UniqueFd> others;
        for (std::size_t i = 0; i < count; ++i) {
            auto pair = socket_pair();
            others.push_back(std::move(pair.second));
            auto receive = [&received, idle_limited](TcpStream stream) -> Task<> {
                if (idle_limited) stream.limit_idle_time();
                auto bytes = co_await stream.recv();
                if (bytes && text_of(*bytes) == "x") ++received;
            };
            loop->spawn(receive, TcpStream(std::move(pair.first)));
        }
        while (loop->stats().operations_in_flight < count) {
            auto turned = co_await yield();
            if (!turned) co_return;
        }
        waiting_for("all receives to be parked");
        // All are due at once: each turn cancels one batch, and starts the polls of the batch before.
        std::uint64_t submitted = loop->stats().ring.submissions;
        std::uint64_t most = 0;
        while (loop->stats().ring.parked_receives < count) {
            auto turned = co_await yield();
            if (!turned) co_return;
            const auto now = loop->stats().ring.submissions;
            most = std::max(most, now - std::exchange(submitted, now));
        }
        CHECK(most <= 2 * LoopCore::parks_per_turn_limit + 10);
        const auto turns = loop->stats().turns;
        auto slept = co_await sleep_for(100ms);
        CHECK(slept);
        CHECK(loop->stats().turns < turns + 5);
        CHECK(loop->stats().ring.parked_receives == count);
        for (const UniqueFd& other : others) REQUIRE(write_all(other.get(), "x"));
        while (received < count) {
            auto waited = co_await sleep_for(1ms);
            if (!waited) co_return;
        }
    });
    CHECK(result);
    CHECK(received == count);
    CHECK(Buffer::lent_count() == lent_before);
}

} // namespace

TEST_CASE("receives that wait for long are parked once each, and the loop stays asleep") {
    check_that_long_receives_are_parked(false);
}

TEST_CASE("receives that wait for long are parked even if their idle time is limited") {
    check_that_long_receives_are_parked(true);
}
