// What LoopOptions::measure_turns measures, on a clock that moves only when the test advances it.

#include <ringlet/event_loop.hpp>

#include "held_clock.hpp"
#include "support.hpp"

#include <ringlet/deadline.hpp>
#include <ringlet/yield.hpp>

#include <chrono>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

// Keeps the loop busy for this time, then lets it enter the kernel.
Task<> work_for(HeldClock& clock, Clock::duration time) {
    clock.advance(time);
    auto slept = co_await sleep_for(0s);
    CHECK(slept);
}

} // namespace

TEST_CASE("a turn is measured from one wait to the next, without the waits") {
    HeldClock clock;
    auto loop = EventLoop::create({.ring_entries = 8, .measure_turns = true});
    REQUIRE(loop);
    clock.advance(30min); // before it runs, so not part of a turn
    auto body = [&]() -> Task<> {
        auto began = co_await sleep_for(0s);
        CHECK(began);
        co_await work_for(clock, 100us);
        co_await work_for(clock, 3s);
    };
    auto ran = loop->run(body);
    REQUIRE(ran);
    const LoopStats stats = loop->stats();
    CHECK(stats.turn_times.sum_nanoseconds == 3'000'100'000);
    CHECK(stats.turn_times.counts[4] == 1);  // up to 131 us
    CHECK(stats.turn_times.counts[19] == 1); // up to 4.3 s
    CHECK(stats.turn_times.total_count() <= stats.turns);
    CHECK(stats.ready_waits.total_count() <= stats.resumptions);
    CHECK(stats.ready_waits.sum_nanoseconds == stats.turn_times.sum_nanoseconds / 2);
}

TEST_CASE("turns are not measured unless asked for") {
    HeldClock clock;
    auto loop = EventLoop::create({.ring_entries = 8});
    REQUIRE(loop);
    auto body = [&]() -> Task<> {
        auto began = co_await sleep_for(0s);
        CHECK(began);
        co_await work_for(clock, 1s);
    };
    auto ran = loop->run(body);
    REQUIRE(ran);
    CHECK(loop->stats().turn_times.total_count() == 0);
    CHECK(loop->stats().ready_waits.total_count() == 0);
}

TEST_CASE("only deadlines that pass are counted") {
    auto loop = EventLoop::create({.ring_entries = 8});
    REQUIRE(loop);
    auto body = []() -> Task<> {
        auto late = co_await with_timeout(1ms, sleep_for(1h));
        CHECK(late.error() == std::errc::timed_out);
        auto early = co_await with_timeout(1h, sleep_for(0s));
        CHECK(early);
    };
    auto ran = loop->run(body);
    REQUIRE(ran);
    CHECK(loop->stats().expired_deadlines == 1);
    CHECK(loop->stats().idle_timeouts == 0);
}
