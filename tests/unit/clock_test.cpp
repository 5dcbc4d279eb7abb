#include <ringlet/clock.hpp>

#include "support.hpp"

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
