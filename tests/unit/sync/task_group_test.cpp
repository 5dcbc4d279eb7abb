#include <ringlet/task_group.hpp>

#include "death.hpp"
#include "net.hpp"

#include <algorithm>
#include <cctype>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

Task<> until_cancelled(std::string* trace, char mark) {
    auto slept = co_await sleep_for(1h);
    CHECK(slept.error() == std::errc::operation_canceled);
    *trace += mark;
}

Task<Result<void>> fails(std::errc error) { co_return error; }

Task<> throws(const char* text) {
    auto turned = co_await yield();
    static_cast<void>(turned);
    throw std::runtime_error(text);
}

bool says(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("no child outlives its group, and the body's value is returned") {
    ReportingLoop loop;
    int ended = 0;
    auto result = loop->run([&]() -> Task<> {
        auto child = [&](int turns) -> Task<> {
            for (int i = 0; i < turns; ++i) static_cast<void>(co_await yield());
            ++ended;
        };
        auto body = [&](TaskGroup& group) -> Task<int> {
            for (int turns = 0; turns < 10; ++turns) group.spawn(child, turns);
            CHECK(group.size() == 10);
            co_return 7;
        };
        auto value = co_await with_task_group(body);
        REQUIRE(value);
        CHECK(*value == 7);
        CHECK(ended == 10);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("the first error cancels the siblings and is returned; a cancelled task is no failure") {
    ReportingLoop loop;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        std::vector<TaskFailure> failures;
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(until_cancelled, &trace, 'a');
            group.spawn("bad", fails, std::errc::no_link);
            auto slept = co_await sleep_for(1h);
            CHECK(slept.error() == std::errc::operation_canceled);
            auto reason = co_await cancelled();
            CHECK(reason == CancelReason::sibling_failed);
        };
        auto done = co_await with_task_group(body, {.failures = &failures});
        CHECK(done.error() == std::errc::no_link);
        REQUIRE(failures.size() == 1);
        CHECK(failures[0].task == "bad");
        CHECK(says(failures[0].to_string(), "task_group_test.cpp:"));
    });
    CHECK(result);
    CHECK(trace == "a");
    CHECK(loop.reports.empty());
    check_nothing_left(*loop);
}

TEST_CASE("the first exception cancels the siblings and is rethrown; other failures are reported") {
    ReportingLoop loop;
    std::string trace;
    std::string caught;
    auto result = loop->run([&]() -> Task<> {
        auto late = []() -> Task<Result<void>> {
            auto slept = co_await sleep_for(1h);
            CHECK_FALSE(slept);
            co_return std::errc::no_link;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(until_cancelled, &trace, 'a');
            group.spawn("late", late);
            group.spawn(throws, "out");
            co_return;
        };
        try {
            auto done = co_await with_task_group(body, {.name = "pair"});
            CHECK_FALSE(done);
        } catch (const std::runtime_error& thrown) {
            caught = thrown.what();
        }
    });
    CHECK(result);
    CHECK(caught == "out");
    CHECK(trace == "a");
    REQUIRE(loop.reports.size() == 1);
    CHECK(says(loop.reports[0], "in group \"pair\", after another failure: task \"late\""));
}

TEST_CASE("a failure of the body cancels the tasks") {
    ReportingLoop loop;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto returns = [&](TaskGroup& group) -> Task<Result<int>> {
            group.spawn(until_cancelled, &trace, 'a');
            static_cast<void>(co_await yield());
            co_return std::errc::no_link;
        };
        auto returned = co_await with_task_group(returns);
        CHECK(returned.error() == std::errc::no_link);
        auto raises = [&](TaskGroup& group) -> Task<> {
            group.spawn(until_cancelled, &trace, 'b');
            static_cast<void>(co_await yield());
            throw std::runtime_error("body");
        };
        std::string caught;
        try {
            auto done = co_await with_task_group(raises);
            CHECK_FALSE(done);
        } catch (const std::runtime_error& thrown) {
            caught = thrown.what();
        }
        CHECK(caught == "body");
    });
    CHECK(result);
    CHECK(trace == "ab");
}

TEST_CASE("a task spawned into a cancelled group does not begin") {
    ReportingLoop loop;
    bool began = false;
    auto result = loop->run([&]() -> Task<> {
        auto child = [&]() -> Task<int> {
            began = true;
            co_return 1;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.cancel();
            auto handle = group.spawn(child);
            CHECK(handle.done());
            CHECK(group.size() == 0);
            auto shielded = [&]() -> Task<Result<int>> {
                auto value = co_await handle.join();
                co_return value;
            };
            auto value = co_await shield(shielded);
            CHECK(value.error() == std::errc::operation_canceled);
        };
        auto done = co_await with_task_group(body);
        CHECK(done); // nothing outside was cancelled
    });
    CHECK(result);
    CHECK_FALSE(began);
    check_nothing_left(*loop);
}

TEST_CASE("spawn and failure in the same turn, in both orders") {
    ReportingLoop loop;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto waits = [&](char mark) -> Task<> {
            trace += mark; // it begins in both orders: the failure is handled when the turn ends
            auto slept = co_await sleep_for(1h);
            CHECK(slept.error() == std::errc::operation_canceled);
            trace += static_cast<char>(std::toupper(mark));
        };
        for (const bool fails_first : {true, false}) {
            auto body = [&](TaskGroup& group) -> Task<> {
                if (fails_first) group.spawn(fails, std::errc::no_link);
                group.spawn(waits, fails_first ? 'a' : 'b');
                if (!fails_first) group.spawn(fails, std::errc::no_link);
                auto slept = co_await sleep_for(1h);
                CHECK(slept.error() == std::errc::operation_canceled);
                CHECK(group.spawn(waits, 'x').done()); // after the failure: it does not begin
            };
            auto done = co_await with_task_group(body);
            CHECK(done.error() == std::errc::no_link);
        }
    });
    CHECK(result);
    CHECK(trace == "aAbB");
    check_nothing_left(*loop);
}

TEST_CASE("OnFailure::report lets the siblings continue") {
    ReportingLoop loop;
    bool went_on = false;
    auto result = loop->run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            for (int i = 0; i < 5; ++i) static_cast<void>(co_await yield());
            went_on = true;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn("bad", fails, std::errc::no_link);
            group.spawn(throws, "out");
            group.spawn(child);
            co_return;
        };
        auto done = co_await with_task_group(body, {.on_failure = OnFailure::report});
        CHECK(done);
    });
    CHECK(result);
    CHECK(went_on);
    REQUIRE(loop.reports.size() == 2);
    CHECK(says(loop.reports[0], "task \"bad\""));
    CHECK(says(loop.reports[1], "exception: out"));
}

TEST_CASE("a group cancelled by an outer deadline waits for its tasks") {
    ReportingLoop loop;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(until_cancelled, &trace, 'a');
            co_return;
        };
        auto grouped = [&]() -> Task<Result<void>> {
            auto done = co_await with_task_group(body);
            CHECK(done.error() == std::errc::operation_canceled);
            co_return done;
        };
        auto done = co_await with_timeout(1ms, grouped);
        CHECK(done.error() == std::errc::timed_out);
        CHECK(trace == "a");
    });
    CHECK(result);
}

TEST_CASE("wait_until_idle lets a group be used again") {
    ReportingLoop loop;
    int ended = 0;
    auto result = loop->run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            static_cast<void>(co_await yield());
            ++ended;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int round = 1; round <= 3; ++round) {
                group.spawn(child);
                auto idle = co_await group.wait_until_idle();
                CHECK(idle);
                CHECK(ended == round);
                CHECK(group.size() == 0);
            }
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(result);
}

TEST_CASE("start waits until the task is ready, and the task continues") {
    ReportingLoop loop;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto listen = [&](Ready<int> ready, int port) -> Task<> {
            static_cast<void>(co_await yield());
            ready(port + 1);
            co_await until_cancelled(&trace, 'l');
        };
        auto tell = [&](Ready<> ready) -> Task<> {
            ready();
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            auto port = co_await group.start<int>(listen, 41);
            REQUIRE(port);
            CHECK(*port == 42);
            CHECK(group.size() == 1);
            auto told = co_await group.start(tell);
            CHECK(told);
            group.cancel();
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "l");
}

TEST_CASE("start of a task that ends before it is ready") {
    ReportingLoop loop;
    std::string caught;
    auto result = loop->run([&]() -> Task<> {
        auto error = [](Ready<int>) -> Task<Result<void>> { co_return std::errc::no_link; };
        auto raises = [](Ready<int>) -> Task<> {
            static_cast<void>(co_await yield());
            throw std::runtime_error("early");
        };
        auto silent = [](Ready<int>) -> Task<> { co_return; };

        auto body_error = [&](TaskGroup& group) -> Task<> {
            auto port = co_await group.start<int>(error);
            CHECK(port.error() == std::errc::no_link);
        };
        auto failed = co_await with_task_group(body_error);
        CHECK(failed.error() == std::errc::no_link);

        auto body_raises = [&](TaskGroup& group) -> Task<> {
            auto port = co_await group.start<int>(raises);
            CHECK(port.error() == std::errc::operation_canceled);
        };
        try {
            auto done = co_await with_task_group(body_raises);
            CHECK_FALSE(done);
        } catch (const std::runtime_error& thrown) {
            caught = thrown.what();
        }
        auto body_silent = [&](TaskGroup& group) -> Task<> {
            auto port = co_await group.start<int>(silent);
            CHECK(port.error() == Errc::task_not_ready);
        };
        auto done = co_await with_task_group(body_silent);
        CHECK(done);
    });
    CHECK(result);
    CHECK(caught == "early");
    check_nothing_left(*loop);
}

TEST_CASE("cancelling start cancels its task") {
    ReportingLoop loop;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto listen = [&](Ready<int>) -> Task<> { co_await until_cancelled(&trace, 'l'); };
        auto body = [&](TaskGroup& group) -> Task<> {
            auto starts = [&]() -> Task<Result<int>> {
                auto port = co_await group.start<int>(listen);
                CHECK(trace == "l");
                co_return port;
            };
            auto port = co_await with_timeout(1ms, starts);
            CHECK(port.error() == std::errc::timed_out);
            auto slept = co_await sleep_for(0s);
            CHECK(slept); // the group is not cancelled
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "l");
}

TEST_CASE("a bounded group never exceeds its limit, and serves waiters in order") {
    ReportingLoop loop;
    int alive = 0;
    int most = 0;
    std::string order;
    auto result = loop->run([&]() -> Task<> {
        auto child = [&](char mark) -> Task<> {
            most = std::max(most, ++alive);
            order += mark;
            for (int i = 0; i < 3; ++i) static_cast<void>(co_await yield());
            --alive;
        };
        auto body = [&](BoundedTaskGroup& group) -> Task<> {
            auto spawner = [&](char mark) -> Task<> {
                auto handle = co_await group.spawn(child, mark);
                CHECK(handle);
                CHECK(group.size() <= 2);
            };
            auto spawners = [&](TaskGroup& all) -> Task<> {
                for (char mark = 'a'; mark <= 'j'; ++mark) all.spawn(spawner, mark);
                co_return;
            };
            auto done = co_await with_task_group(spawners);
            CHECK(done);
        };
        auto done = co_await with_bounded_task_group(2, body);
        CHECK(done);
    });
    CHECK(result);
    CHECK(most == 2);
    CHECK(order == "abcdefghij");
}

TEST_CASE("waiting for room can be cancelled, and the next waiter gets the room") {
    ReportingLoop loop;
    Event go("go");
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            auto told = co_await go.wait();
            CHECK(told);
        };
        auto body = [&](BoundedTaskGroup& group) -> Task<> {
            auto wait = [&](char mark) -> Task<Result<void>> {
                auto room = co_await group.wait_for_room();
                trace += room ? mark : '-';
                co_return room;
            };
            CHECK(group.try_spawn(child).has_value());
            auto both = [&](TaskGroup& waiters) -> Task<> {
                auto first = waiters.spawn(wait, 'a');
                auto second = waiters.spawn(wait, 'b');
                static_cast<void>(co_await yield());
                first.cancel();
                auto cut = co_await first.join();
                CHECK(cut.error() == std::errc::operation_canceled);
                CHECK_FALSE(second.done());
                go.set();
            };
            auto done = co_await with_task_group(both);
            CHECK(done);
        };
        auto done = co_await with_bounded_task_group(1, body);
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "-b");
    check_nothing_left(*loop);
}

TEST_CASE("try_spawn on a full group refuses and does not move from its arguments") {
    ReportingLoop loop;
    Event go("go");
    auto result = loop->run([&]() -> Task<> {
        auto child = [&](std::unique_ptr<int> number) -> Task<int> {
            auto told = co_await go.wait();
            CHECK(told);
            co_return *number;
        };
        auto body = [&](BoundedTaskGroup& group) -> Task<> {
            auto first = group.try_spawn(child, std::make_unique<int>(1));
            CHECK(first.has_value());
            auto argument = std::make_unique<int>(2);
            auto refused = group.try_spawn(child, std::move(argument));
            CHECK_FALSE(refused.has_value());
            REQUIRE(argument != nullptr);

            auto waits = [&]() -> Task<Result<int>> {
                auto handle = co_await group.spawn(child, std::move(argument));
                if (!handle) co_return handle.error();
                co_return 0;
            };
            auto cut = co_await with_timeout(1ms, waits);
            CHECK(cut.error() == std::errc::timed_out);
            REQUIRE(argument != nullptr);

            go.set();
            auto room = co_await group.wait_for_room();
            CHECK(room);
            auto second = group.try_spawn(child, std::move(argument));
            REQUIRE(second.has_value());
            CHECK(argument == nullptr);
            auto value = co_await second->join();
            REQUIRE(value);
            CHECK(*value == 2);
        };
        auto done = co_await with_bounded_task_group(1, body);
        CHECK(done);
    });
    CHECK(result);
    check_nothing_left(*loop);
}
