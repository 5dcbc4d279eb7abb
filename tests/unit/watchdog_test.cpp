#include "watchdog.hpp"

#include "net.hpp"

#include <future>
#include <thread>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("Watchdog names the task that keeps the loop while it still runs") {
    std::promise<std::string> reported;
    LoopOptions options;
    options.stall_limit = 5ms;
    options.report = [&](std::string_view line) { reported.set_value(std::string(line)); };
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    waiting_for("the report of a stalled task");
    std::string line;
    auto result = loop->run([&]() -> Task<> {
        auto hold = [&]() -> Task<> {
            line = reported.get_future().get(); // blocks the loop until the report has come
            co_return;
        };
        loop->spawn("holder", hold);
        auto turned = co_await yield();
        CHECK(turned);
    });
    CHECK(result);
    CHECK(line.find("task \"holder\" (watchdog_test.cpp:") == 0);
    CHECK(line.find("kept the loop from turning") != std::string::npos);
}

TEST_CASE("Watchdog is quiet while a loop sleeps") {
    std::atomic<int> reports{0};
    LoopOptions options;
    options.stall_limit = 1ms;
    options.report = [&](std::string_view) { ++reports; };
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    auto result = loop->run([]() -> Task<> {
        auto slept = co_await sleep_for(20ms);
        CHECK(slept);
    });
    CHECK(result);
    CHECK(reports == 0);
}
