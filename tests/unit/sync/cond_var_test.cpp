#include <ringlet/cond_var.hpp>

#include "death.hpp"
#include "net.hpp"

#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

struct Shared {
    Mutex mutex{"shared"};
    CondVar changed{"changed"};
    int value = 0;
    std::vector<int> seen;
    std::error_code error;
};

Task<> wait_for_change(Shared* shared, int number) {
    auto guard = co_await shared->mutex.lock();
    if (!guard) co_return;
    while (shared->value == 0) {
        auto woken = co_await shared->changed.wait(*guard);
        CHECK(shared->mutex.is_locked());
        if (!woken) {
            shared->error = woken.error();
            co_return;
        }
    }
    --shared->value;
    shared->seen.push_back(number);
}

} // namespace

TEST_CASE("CondVar wakes the oldest waiter first, and each holds the mutex again") {
    ReportingLoop loop;
    Shared shared;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            for (int number = 1; number <= 3; ++number) {
                group.spawn(wait_for_change, &shared, number);
            }
            auto turned = co_await yield();
            CHECK(turned);
            CHECK_FALSE(shared.mutex.is_locked());
            auto guard = co_await shared.mutex.lock();
            REQUIRE(guard);
            shared.value = 3;
            shared.changed.notify_one();
            shared.changed.notify_all();
            CHECK(shared.seen.empty()); // the mutex is held
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(shared.seen == std::vector<int>{1, 2, 3});
    CHECK_FALSE(shared.mutex.is_locked());
}

TEST_CASE("CondVar that is cancelled returns with the mutex, after its holder unlocks") {
    ReportingLoop loop;
    Shared shared;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto handle = group.spawn(wait_for_change, &shared, 1);
            auto turned = co_await yield();
            CHECK(turned);
            auto guard = co_await shared.mutex.lock();
            REQUIRE(guard);
            handle.cancel();
            turned = co_await yield();
            CHECK_FALSE(handle.done()); // it waits for the mutex
            guard->unlock();
            auto ended = co_await handle.join();
            CHECK(ended.error() == std::errc::operation_canceled);
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(shared.error == std::errc::operation_canceled);
    CHECK_FALSE(shared.mutex.is_locked());
}

TEST_CASE("CondVar that is notified before its cancellation succeeds") {
    ReportingLoop loop;
    Shared shared;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto handle = group.spawn(wait_for_change, &shared, 1);
            auto turned = co_await yield();
            CHECK(turned);
            shared.value = 1;
            shared.changed.notify_one();
            handle.cancel();
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(shared.seen == std::vector<int>{1});
    CHECK_FALSE(shared.error);
}

TEST_CASE("CondVar in a cancelled scope is refused, and the mutex stays locked") {
    ReportingLoop loop;
    Shared shared;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto guard = co_await shared.mutex.lock();
            REQUIRE(guard);
            group.cancel();
            auto woken = co_await shared.changed.wait(*guard);
            CHECK(woken.error() == std::errc::operation_canceled);
            CHECK(shared.mutex.is_locked());
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK_FALSE(shared.mutex.is_locked());
}
