#include <ringlet/run_blocking.hpp>

#include "death.hpp"
#include "net.hpp"

#include <atomic>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>

#include <csignal>

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("run_blocking returns the function's result from another thread") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        auto add = [](int left, int right) { return left + right; };
        auto sum = co_await run_blocking(add, 2, 3);
        REQUIRE(sum);
        CHECK(*sum == 5);
        auto thread = co_await run_blocking(std::this_thread::get_id);
        REQUIRE(thread);
        CHECK(*thread != std::this_thread::get_id());
        std::atomic<bool> ran = false;
        auto nothing = [&ran] { ran = true; };
        auto done = co_await run_blocking(nothing);
        CHECK(done);
        CHECK(ran);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("run_blocking rethrows what the function throws") {
    ReportingLoop loop;
    std::string caught;
    auto result = loop->run([&]() -> Task<> {
        auto raises = []() -> int { throw std::runtime_error("out"); };
        try {
            auto value = co_await run_blocking(raises);
            CHECK_FALSE(value);
        } catch (const std::runtime_error& thrown) {
            caught = thrown.what();
        }
    });
    CHECK(result);
    CHECK(caught == "out");
}

TEST_CASE("a cancelled wait ends at once, while the function keeps running") {
    std::promise<void> go;
    auto gate = go.get_future().share();
    std::atomic<bool> ran = false;
    {
        ReportingLoop loop;
        auto result = loop->run([&]() -> Task<> {
            auto waits = [&] {
                gate.wait();
                ran = true;
            };
            auto task = [&]() -> Task<Result<void>> {
                auto done = co_await run_blocking(waits);
                co_return done;
            };
            auto done = co_await with_timeout(1ms, task);
            CHECK(done.error() == std::errc::timed_out);
            CHECK_FALSE(ran);
            auto refused = co_await with_timeout(-1s, task);
            CHECK(refused.error() == std::errc::timed_out);
            go.set_value();
        });
        CHECK(result);
        check_nothing_left(*loop);
    }
    // The loop's destructor waits for a function that has begun.
}

TEST_CASE("a queued function that is cancelled never begins") {
    std::promise<void> go;
    auto gate = go.get_future().share();
    std::atomic<int> begun = 0;
    {
        LoopOptions options;
        options.blocking_threads = 1;
        auto loop = EventLoop::create(options);
        REQUIRE(loop);
        waiting_for("a function behind another one on the only thread to be cancelled");
        auto result = loop->run([&]() -> Task<> {
            auto waits = [&] {
                ++begun;
                gate.wait();
            };
            auto counts = [&] { ++begun; };
            auto first = [&]() -> Task<Result<void>> {
                auto done = co_await run_blocking(waits);
                co_return done;
            };
            auto second = [&]() -> Task<Result<void>> {
                auto done = co_await run_blocking(counts);
                co_return done;
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                auto running = group.spawn(first);
                auto turned = co_await yield();
                CHECK(turned);
                auto late = co_await with_timeout(1ms, second);
                CHECK(late.error() == std::errc::timed_out);
                go.set_value();
                auto done = co_await running.join();
                CHECK(done);
            };
            auto done = co_await with_task_group(body);
            CHECK(done);
        });
        CHECK(result);
    }
    CHECK(begun == 1);
}

TEST_CASE(
    "a failed thread start is an error once: the function is not called, signals are unchanged") {
    const auto outcome = run_in_child([] {
        if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0)
            ::_exit(77); // root has no limit
        auto loop = EventLoop::create();
        bool was_called = false;
        std::error_code refused;
        int second = 0;
        auto ran = loop->run([&]() -> Task<> {
            rlimit before{};
            ::getrlimit(RLIMIT_NPROC, &before);
            const rlimit none{0, before.rlim_max};
            ::setrlimit(RLIMIT_NPROC, &none);
            auto stale = [&was_called] { was_called = true; };
            auto first = co_await run_blocking(stale);
            refused = first.error();
            ::setrlimit(RLIMIT_NPROC, &before);
            auto job = [] { return 2; };
            auto answer = co_await run_blocking(job);
            if (answer) second = *answer;
        });
        sigset_t mask;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
        const bool well = ran && refused == std::errc::resource_unavailable_try_again &&
                          !was_called && second == 2 && sigismember(&mask, SIGTERM) == 0;
        ::_exit(well ? 0 : 1);
    });
    CHECK(outcome.succeeded());
}

TEST_CASE("run_blocking_to_end waits for its function, cancelled or not, and returns its result") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        std::atomic<int> lent = 0;
        auto job = [&] {
            std::this_thread::sleep_for(20ms);
            lent = 7;
            return 3;
        };
        auto call = [&]() -> Task<Result<int>> {
            auto answer = co_await run_blocking_to_end(job);
            co_return answer;
        };
        auto late = co_await with_timeout(1ms, call);
        CHECK((late && *late == 3)); // the success arrives despite the deadline
        CHECK(lent == 7);
        // Queued functions are called too.
        auto many = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 40; ++i) group.spawn(call);
            auto turned = co_await yield();
            CHECK(turned);
            lent = 0;
            group.cancel();
        };
        auto done = co_await with_task_group(many);
        static_cast<void>(done);
        CHECK(lent == 7);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE(
    "leaving a loop waits for a function with lent memory, even if a task ignores cancellation") {
    ReportingLoop loop;
    std::atomic<bool> ended = false;
    auto result = loop->run([&]() -> Task<> {
        auto lend = [&]() -> Task<> {
            std::string memory(1000, 'x'); // destroyed with the task
            auto job = [&] {
                std::this_thread::sleep_for(50ms);
                memory.assign(1000, 'y');
                ended = true;
            };
            auto done = co_await run_blocking_to_end(job);
            static_cast<void>(done);
        };
        auto stubborn = []() -> Task<> {
            for (;;) {
                auto slept = co_await sleep_for(1h);
                static_cast<void>(slept);
            }
        };
        loop->spawn(lend);
        loop->spawn(stubborn);
        auto turned = co_await sleep_for(1ms);
        CHECK(turned);
    });
    CHECK(result);
    CHECK(ended);
}
