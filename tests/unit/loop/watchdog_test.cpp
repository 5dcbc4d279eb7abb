#include "loop/watchdog.hpp"

#include "net.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// Collects the lines that a watchdog reports on its thread.
class Lines {
public:
    void add(std::string_view line) {
        {
            const std::lock_guard lock(mutex_);
            lines_.emplace_back(line);
        }
        added_.notify_one();
    }

    /// Waits for the first line that begins like this.
    std::string wait_for(std::string_view beginning) {
        std::unique_lock lock(mutex_);
        auto found = lines_.end();
        added_.wait(lock, [&] {
            found = std::ranges::find_if(
                lines_, [&](const std::string& line) { return line.starts_with(beginning); });
            return found != lines_.end();
        });
        return *found;
    }

private:
    std::mutex mutex_;
    std::condition_variable added_;
    std::vector<std::string> lines_;
};

/// The number of reports while a loop sleeps for a hundred times its limit.
int reports_of_a_sleep() {
    std::atomic<int> reports{0};
    LoopOptions options;
    options.stall_limit = 1ms;
    options.report = [&](std::string_view) { ++reports; };
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    auto result = loop->run([]() -> Task<> {
        auto slept = co_await sleep_for(100ms);
        CHECK(slept);
    });
    CHECK(result);
    return reports;
}

} // namespace

TEST_CASE("Watchdog names the task that blocks the loop while it is still running") {
    Lines lines; // may hold other reports: on a busy machine any task can lose its CPU
    LoopOptions options;
    options.stall_limit = 5ms;
    options.report = [&](std::string_view line) { lines.add(line); };
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    waiting_for("the report of a stalled task");
    std::string line;
    auto result = loop->run([&]() -> Task<> {
        auto hold = [&]() -> Task<> {
            // Blocks the loop until the report arrives.
            line = lines.wait_for("task \"holder\" (watchdog_test.cpp:");
            co_return;
        };
        loop->spawn("holder", hold);
        auto turned = co_await yield();
        CHECK(turned);
    });
    CHECK(result);
    CHECK(line.find("kept the loop from turning") != std::string::npos);
}

TEST_CASE("Watchdog is quiet while a loop sleeps") {
    // A thread that loses its CPU during a resumption is rightly reported, but not on every try.
    int tries = 1;
    while (reports_of_a_sleep() > 0 && tries < 20) ++tries;
    CHECK(tries < 20);
}
