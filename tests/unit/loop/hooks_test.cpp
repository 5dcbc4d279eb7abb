// Calls from unexpected places: hooks that throw, signal handlers that stop, exit in a task.

#include "death.hpp"
#include "net.hpp"

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <sys/time.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

EventLoop* loop_of_the_handler = nullptr;

} // namespace

TEST_CASE("a report hook that throws loses neither the line nor the loop") {
    const auto outcome = run_in_child([] {
        LoopOptions options;
        options.report = [](std::string_view) { throw std::runtime_error("the log is full"); };
        auto loop = EventLoop::create(options);
        auto broken = []() -> Task<Result<void>> { co_return std::errc::broken_pipe; };
        auto ran = loop->run([&]() -> Task<> {
            loop->spawn("broken", broken);
            for (int turn = 0; turn < 3; ++turn) static_cast<void>(co_await yield());
        });
        auto again = loop->run([]() -> Task<int> {
            auto slept = co_await sleep_for(1ms);
            co_return slept ? 1 : 0;
        });
        ::_exit(ran && again && *again == 1 ? 0 : 1);
    });
    CHECK(outcome.succeeded());
    CHECK(outcome.error_output.find("LoopOptions::report threw") != std::string::npos);
    CHECK(outcome.error_output.find("task \"broken\"") != std::string::npos);
}

TEST_CASE("an argument may spawn while its unused loop is destroyed, and nothing runs") {
    int alive = 0;
    struct SpawnsAtItsEnd {
        EventLoop* loop;
        int* alive;
        explicit SpawnsAtItsEnd(EventLoop& on, int& count) : loop(&on), alive(&count) {}
        SpawnsAtItsEnd(SpawnsAtItsEnd&& other) noexcept
            : loop(std::exchange(other.loop, nullptr)), alive(other.alive) {}
        SpawnsAtItsEnd& operator=(SpawnsAtItsEnd&&) = delete;
        ~SpawnsAtItsEnd() {
            if (loop != nullptr) loop->spawn([](Counted) -> Task<> { co_return; }, Counted(*alive));
        }
    };
    {
        ReportingLoop loop;
        loop->spawn([](SpawnsAtItsEnd) -> Task<> { co_return; }, SpawnsAtItsEnd(*loop, alive));
    }
    CHECK(alive == 0);
}

TEST_CASE("a signal handler that stops a loop wakes it even if every task waits") {
    const auto outcome = run_in_child([] {
        auto loop = EventLoop::create();
        loop_of_the_handler = &*loop;
        std::signal(SIGALRM, [](int) { loop_of_the_handler->stop(); });
        const itimerval soon{{0, 0}, {0, 50'000}};
        ::setitimer(ITIMER_REAL, &soon, nullptr);
        auto ran = loop->run([]() -> Task<> {
            Event never;
            auto told = co_await never.wait();
            static_cast<void>(told);
        });
        ::_exit(ran.error() == std::errc::operation_canceled ? 0 : 1); // not would_block_forever
    });
    CHECK(outcome.succeeded());
}

TEST_CASE("exit in a task ends the process with its status, even if the loop is static") {
    const auto outcome = run_in_child([] {
        static auto loop = EventLoop::create();
        auto ran = loop->run([]() -> Task<> {
            auto pair = socket_pair();
            TcpStream left(std::move(pair.first));
            loop->spawn([]() -> Task<> { static_cast<void>(co_await sleep_for(1h)); });
            auto job = [] { return 1; };
            auto answer = co_await run_blocking(job);
            static_cast<void>(answer);
            std::exit(0);
        });
        ::_exit(ran ? 1 : 2);
    });
    CAPTURE(outcome.error_output);
    CHECK(outcome.succeeded());
}
