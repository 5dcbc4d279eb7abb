#include <ringlet/semaphore.hpp>

#include "death.hpp"
#include "net.hpp"

#include <string>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

Task<> take(Semaphore& semaphore, std::string& trace, char name) {
    auto taken = co_await semaphore.acquire();
    trace += taken ? name : '-';
    if (!taken) CHECK(taken.error() == std::errc::operation_canceled);
}

} // namespace

TEST_CASE("permits go to the oldest waiter, and a cancelled one is skipped") {
    ReportingLoop loop;
    Semaphore semaphore(0);
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.spawn(take, std::ref(semaphore), std::ref(trace), 'a');
            auto second = group.spawn(take, std::ref(semaphore), std::ref(trace), 'b');
            group.spawn(take, std::ref(semaphore), std::ref(trace), 'c');
            static_cast<void>(co_await yield());
            second.cancel();
            semaphore.release(3);
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "-ac");
    CHECK(semaphore.available() == 1);
}

TEST_CASE("a permit given before the cancellation is kept") {
    ReportingLoop loop;
    Semaphore semaphore(0);
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto first = group.spawn(take, std::ref(semaphore), std::ref(trace), 'a');
            static_cast<void>(co_await yield());
            semaphore.release();
            first.cancel();
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "a");
    CHECK(semaphore.available() == 0);
}

TEST_CASE("acquire in a cancelled scope takes no permit, even if there is one") {
    ReportingLoop loop;
    Semaphore semaphore(1);
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.cancel();
            auto taken = co_await semaphore.acquire();
            CHECK(taken.error() == std::errc::operation_canceled);
        });
        static_cast<void>(done);
    });
    CHECK(result);
    CHECK(semaphore.available() == 1);
    CHECK(semaphore.try_acquire());
    CHECK_FALSE(semaphore.try_acquire());
}
