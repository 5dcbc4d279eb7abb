#include <ringlet/cond_var.hpp>

#include "net.hpp"

#include <string>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("a mutex goes to the oldest waiter, and a cancelled one is skipped") {
    ReportingLoop loop;
    Mutex mutex;
    std::string trace;
    auto enter = [&](char name) -> Task<> {
        auto guard = co_await mutex.lock();
        trace += guard ? name : '-';
        static_cast<void>(co_await yield());
    };
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto guard = mutex.try_lock();
            group.spawn(enter, 'a');
            auto second = group.spawn(enter, 'b');
            group.spawn(enter, 'c');
            static_cast<void>(co_await yield());
            second.cancel();
            guard.unlock();
            CHECK(mutex.is_locked());
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "-ac");
    CHECK_FALSE(mutex.is_locked());
}

TEST_CASE("assigning to a guard unlocks its mutex and takes the new one") {
    Mutex first, second;
    MutexGuard held = first.try_lock();
    held = second.try_lock();
    CHECK_FALSE(first.is_locked());
    CHECK(second.is_locked());
    MutexGuard& itself = held;
    held = std::move(itself);
    CHECK(second.is_locked());
    held = MutexGuard();
    CHECK_FALSE(second.is_locked());
}
