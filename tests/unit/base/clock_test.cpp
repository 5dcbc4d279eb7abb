#include <ringlet/clock.hpp>

#include "support.hpp"

#include <ctime>

using namespace ringlet;

TEST_CASE("Clock never goes back") {
    static_assert(Clock::is_steady);
    auto before = Clock::now();
    for (int i = 0; i < 1000; ++i) {
        const auto now = Clock::now();
        CHECK(now >= before);
        before = now;
    }
}

TEST_CASE("to_timespec splits a duration into seconds and nanoseconds") {
    using namespace std::chrono_literals;
    for (const Clock::duration duration :
         {Clock::duration(0), Clock::duration(1ns), Clock::duration(999'999'999ns),
          Clock::duration(1s), Clock::duration(90min + 5ns), Clock::duration::max()}) {
        const auto time = to_timespec<timespec>(duration);
        CHECK(time.tv_nsec >= 0);
        CHECK(time.tv_nsec < 1'000'000'000);
        CHECK(time.tv_sec == duration / 1s);
        CHECK(time.tv_nsec == (duration % 1s).count());
    }
}
