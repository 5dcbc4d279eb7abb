#include <ringlet/join_handle.hpp>

#include "death.hpp"
#include "net.hpp"

#include <optional>
#include <stdexcept>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

Task<Result<int>> give_when(Event* event, int value) {
    auto told = co_await event->wait();
    if (!told) co_return told.error();
    co_return value;
}

} // namespace

TEST_CASE("join returns the task's result, even if the task has already ended") {
    ReportingLoop loop;
    Event go("go");
    auto result = loop->run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto handle = group.spawn("giver", give_when, &go, 5);
            CHECK(handle.name() == "giver");
            CHECK_FALSE(handle.done());
            go.set();
            auto idle = co_await group.wait_until_idle();
            CHECK(idle);
            CHECK(handle.done());
            auto value = co_await handle.join();
            REQUIRE(value);
            CHECK(*value == 5);
            auto moved = std::move(handle);
            CHECK_FALSE(handle);
            CHECK(moved);
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a cancelled join leaves the task running, and it can be joined again") {
    ReportingLoop loop;
    Event go("go");
    auto result = loop->run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto handle = group.spawn(give_when, &go, 5);
            auto joins = [&]() -> Task<Result<int>> {
                auto value = co_await handle.join();
                co_return value;
            };
            auto cut = co_await with_timeout(1ms, joins);
            CHECK(cut.error() == std::errc::timed_out);
            CHECK_FALSE(handle.done());
            go.set();
            auto value = co_await handle.join();
            REQUIRE(value);
            CHECK(*value == 5);
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(result);
}

TEST_CASE("cancel ends only this task, and does not fail the group") {
    ReportingLoop loop;
    Event go("go");
    auto result = loop->run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto first = group.spawn(give_when, &go, 1);
            auto second = group.spawn(give_when, &go, 2);
            static_cast<void>(co_await yield());
            first.cancel();
            auto cut = co_await first.join();
            CHECK(cut.error() == std::errc::operation_canceled);
            CHECK_FALSE(second.done());
            go.set();
            auto value = co_await second.join();
            REQUIRE(value);
            CHECK(*value == 2);
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(result);
    CHECK(loop.reports.empty());
}

TEST_CASE("using a handle after its group aborts with both names") {
    check_aborts("the handle of task \"late\"", [] {
        static_cast<void>(run_on_loop([]() -> Task<> {
            std::optional<JoinHandle<int>> kept;
            auto child = []() -> Task<int> { co_return 1; };
            auto body = [&](TaskGroup& group) -> Task<> {
                kept.emplace(group.spawn("late", child));
                co_return;
            };
            auto done = co_await with_task_group(body, {.name = "short"});
            CHECK(done);
            CHECK(kept->done());
            CHECK(kept->name() == "late");
            kept->cancel();
        }));
    });
    check_aborts("was used after its group \"short\" had ended", [] {
        static_cast<void>(run_on_loop([]() -> Task<> {
            std::optional<JoinHandle<int>> kept;
            auto child = []() -> Task<int> { co_return 1; };
            auto body = [&](TaskGroup& group) -> Task<> {
                kept.emplace(group.spawn("late", child));
                co_return;
            };
            auto done = co_await with_task_group(body, {.name = "short"});
            CHECK(done);
            auto value = co_await kept->join();
            CHECK(value);
        }));
    });
}

TEST_CASE("a second join of one task aborts: the first took the value") {
    check_aborts("was joined twice", [] {
        static_cast<void>(run_on_loop([]() -> Task<> {
            auto child = []() -> Task<int> { co_return 1; };
            auto body = [&](TaskGroup& group) -> Task<> {
                auto handle = group.spawn("once", child);
                auto value = co_await handle.join();
                CHECK(value);
                auto again = co_await handle.join();
                CHECK(again);
            };
            static_cast<void>(co_await with_task_group(body));
        }));
    });
}

TEST_CASE("two coroutines that join one task abort, and so does an empty handle") {
    check_aborts("two coroutines join the same task", [] {
        static_cast<void>(run_on_loop([]() -> Task<> {
            Event never("never");
            auto body = [&](TaskGroup& group) -> Task<> {
                auto handle = group.spawn(give_when, &never, 1);
                auto joins = [&]() -> Task<> { static_cast<void>(co_await handle.join()); };
                group.spawn(joins);
                group.spawn(joins);
                static_cast<void>(co_await never.wait());
            };
            static_cast<void>(co_await with_task_group(body));
        }));
    });
    check_aborts("an empty JoinHandle was used", [] {
        const JoinHandle<int> empty;
        static_cast<void>(empty.done());
    });
}
