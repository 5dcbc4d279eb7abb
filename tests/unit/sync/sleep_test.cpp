#include <ringlet/sleep.hpp>

#include "net.hpp"

#include <chrono>
#include <limits>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("sleepers wake in order of their deadlines, equal ones in order of arming") {
    ReportingLoop loop;
    std::vector<int> order;
    const auto start = Clock::now();
    auto sleeper = [&](int number, Clock::time_point deadline) -> Task<> {
        auto slept = co_await sleep_until(deadline);
        CHECK(slept);
        order.push_back(number);
    };
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(sleeper, 5, start + 9ms);
        loop->spawn(sleeper, 1, start + 3ms);
        loop->spawn(sleeper, 3, start + 6ms);
        loop->spawn(sleeper, 0, start - 1ms);
        loop->spawn(sleeper, 2, start + 3ms);
        loop->spawn(sleeper, 4, start + 6ms);
        auto slept = co_await sleep_until(start + 12ms);
        CHECK(slept);
    });
    CHECK(result);
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5});
    check_nothing_left(*loop);
}

TEST_CASE("a sleep never ends early") {
    auto result = run_on_loop([]() -> Task<> {
        for (const auto duration :
             {1ns, 999ns, 50'000ns, 999'999ns, 1'000'001ns, 2'500'000ns, 7'000'000ns}) {
            const auto start = Clock::now();
            auto slept = co_await sleep_for(duration);
            const auto took = Clock::now() - start;
            CHECK(slept);
            CHECK(took >= duration);

            const auto deadline = Clock::now() + duration;
            auto until = co_await sleep_until(deadline);
            CHECK(until);
            CHECK(Clock::now() >= deadline);
        }
    });
    CHECK(result);
}

TEST_CASE("sleep_for takes durations of any unit, rounded up") {
    auto result = run_on_loop([]() -> Task<> {
        const std::chrono::duration<double> fraction(0.0015);
        auto start = Clock::now();
        auto slept = co_await sleep_for(fraction);
        CHECK(slept);
        CHECK(Clock::now() - start >= 1500us);

        const std::chrono::duration<int, std::ratio<1, 300>> odd(1);
        start = Clock::now();
        slept = co_await sleep_for(odd);
        CHECK(slept);
        CHECK(Clock::now() - start >= odd);
    });
    CHECK(result);
}

TEST_CASE("a sleep of zero or into the past ends at the next turn, and lets others run") {
    ReportingLoop loop;
    int others = 0;
    waiting_for("sleeps of zero and negative durations");
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            for (;;) {
                auto turned = co_await yield();
                if (!turned) co_return;
                ++others;
            }
        });
        for (const auto duration : {0ns, -1ns, -1'000'000'000ns}) {
            const int before = others;
            auto slept = co_await sleep_for(duration);
            CHECK(slept);
            CHECK(others > before);
        }
        auto ancient = co_await sleep_until(Clock::time_point::min());
        CHECK(ancient);
        auto least = co_await sleep_for(std::chrono::nanoseconds::min());
        CHECK(least);
    });
    CHECK(result);
}

TEST_CASE("negative durations beyond the clock's range are in the past too") {
    ReportingLoop loop;
    int ended = 0;
    auto sleeper = [&](auto duration) -> Task<> {
        auto slept = co_await sleep_for(duration);
        if (slept) ++ended;
    };
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(sleeper, std::chrono::hours(-3'000'000)); // more nanoseconds than 64 bits hold
        loop->spawn(sleeper, std::chrono::hours::min());
        loop->spawn(sleeper, std::chrono::seconds::min());
        loop->spawn(sleeper, std::chrono::duration<double>(std::numeric_limits<double>::lowest()));
        auto slept = co_await sleep_for(1ms);
        CHECK(slept);
    });
    CHECK(result);
    CHECK(ended == 4);
}

TEST_CASE("a duration too long for the clock sleeps without turning, until it is cancelled") {
    ReportingLoop loop;
    std::vector<std::error_code> errors;
    auto note = [&](Result<void> slept) { errors.push_back(slept.error()); };
    std::thread stopper;
    std::uint64_t turns_before = 0;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            auto slept = co_await sleep_for(std::chrono::hours::max());
            note(slept);
        });
        loop->spawn([&]() -> Task<> {
            auto slept = co_await sleep_for(std::chrono::nanoseconds::max());
            note(slept);
        });
        loop->spawn([&]() -> Task<> {
            const std::chrono::duration<double> endless(std::numeric_limits<double>::infinity());
            auto slept = co_await sleep_for(endless);
            note(slept);
        });
        // Long enough for a spinning loop to show.
        stopper = std::thread([&] {
            std::this_thread::sleep_for(30ms);
            loop->stop();
        });
        turns_before = loop->stats().turns;
        auto slept = co_await sleep_until(Clock::time_point::max());
        note(slept);
    });
    stopper.join();
    CHECK(result.error() == std::errc::operation_canceled);
    CHECK(errors.size() == 4);
    for (const std::error_code error : errors) CHECK(error == std::errc::operation_canceled);
    CHECK(loop->stats().turns - turns_before < 20);
    check_nothing_left(*loop);
}

TEST_CASE("all sleepers are cancelled when the loop is left") {
    ReportingLoop loop;
    std::size_t cancelled = 0;
    int alive = 0;
    auto result = loop->run([&]() -> Task<> {
        for (int i = 0; i < 500; ++i) {
            loop->spawn(
                [&](int number) -> Task<> {
                    const Counted local(alive);
                    auto slept = co_await sleep_for(1h + std::chrono::seconds(number * 37 % 101));
                    if (slept.error() == std::errc::operation_canceled) ++cancelled;
                },
                i);
        }
        while (loop->stats().armed_timers < 500) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(cancelled == 500);
    CHECK(alive == 0);
    check_nothing_left(*loop);
}

TEST_CASE("a thousand sleeps to one deadline cost a handful of system calls") {
    ReportingLoop loop;
    int awake = 0;
    auto result = loop->run([&]() -> Task<std::uint64_t> {
        const auto deadline = Clock::now() + 20ms;
        const auto before = loop->stats().ring.system_calls;
        for (int i = 0; i < 1000; ++i) {
            loop->spawn([&]() -> Task<> {
                auto slept = co_await sleep_until(deadline);
                CHECK(slept);
                ++awake;
            });
        }
        auto slept = co_await sleep_until(deadline + 1ms);
        CHECK(slept);
        co_return loop->stats().ring.system_calls - before;
    });
    REQUIRE(result);
    CHECK(awake == 1000);
    CHECK(*result <= 20);
    CHECK(loop->stats().ring.submissions <= 2); // no timeout operations
}
