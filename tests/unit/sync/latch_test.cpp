#include <ringlet/latch.hpp>

#include "death.hpp"
#include "net.hpp"

using namespace ringlet;
using namespace ringlet::testing;

namespace {

Task<> arrive(Latch* latch, int* passed) {
    auto arrived = co_await latch->arrive_and_wait();
    if (arrived) ++*passed;
}

} // namespace

TEST_CASE("Latch opens when the count reaches zero, and stays open") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        Latch latch(3, "start");
        int passed = 0;
        loop->spawn(arrive, &latch, &passed);
        loop->spawn(arrive, &latch, &passed);
        auto turned = co_await yield();
        CHECK(turned);
        CHECK(passed == 0);
        CHECK_FALSE(latch.try_wait());
        latch.count_down();
        auto opened = co_await latch.wait();
        CHECK(opened);
        turned = co_await yield();
        CHECK(passed == 2);
        CHECK(latch.try_wait());
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("Latch keeps the count of an arrival whose wait was cancelled") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        Latch latch(2);
        int passed = 0;
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto handle = group.spawn(arrive, &latch, &passed);
            auto turned = co_await yield();
            CHECK(turned);
            handle.cancel();
        });
        CHECK(done);
        CHECK(passed == 0);
        latch.count_down();
        CHECK(latch.try_wait());
    });
    CHECK(result);
}

TEST_CASE("Latch in a cancelled scope is refused, even if it is open") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        Latch open(0);
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.cancel();
            auto waited = co_await open.wait();
            CHECK(waited.error() == std::errc::operation_canceled);
        });
        CHECK(done);
    });
    CHECK(result);
}

TEST_CASE("Latch that is counted down below zero, or destroyed with a waiter, aborts") {
    check_aborts("below zero", [] {
        Latch latch(1);
        latch.count_down(2);
    });
    check_aborts("Latch \"start\" was destroyed while task \"", [] {
        static_cast<void>(run_on_loop([]() -> Task<> {
            EventLoop& loop = co_await current_loop();
            Latch latch(2, "start");
            int passed = 0;
            loop.spawn(arrive, &latch, &passed);
            auto turned = co_await yield();
            CHECK(turned);
        }));
    });
}
