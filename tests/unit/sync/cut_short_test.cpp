// What is reported when a task is cut short: the table in docs/guides/concurrency.md, "Cut short".

#include "net.hpp"

#include <ringlet/ringlet.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

const auto canceled = std::make_error_code(std::errc::operation_canceled);
const auto timed_out = std::make_error_code(std::errc::timed_out);

Task<> nap(std::chrono::milliseconds time) {
    auto slept = co_await sleep_for(time);
    static_cast<void>(slept);
}
Task<Result<void>> honest_nap(std::chrono::milliseconds time) {
    auto slept = co_await sleep_for(time);
    co_return slept;
}
Task<int> counted_nap(std::chrono::milliseconds time) {
    auto slept = co_await sleep_for(time);
    co_return slept ? 1 : 0;
}

template <class T>
std::error_code error_of(const Result<T>& result) {
    return result.error();
}

struct Said {
    std::error_code by_void, by_result, by_value;
};

// The result of each kind of task when `call(task, time)` is used on it.
template <class Call>
Task<Said> ask(Call call) {
    Said said;
    auto first = co_await call(nap);
    said.by_void = error_of(first);
    auto second = co_await call(honest_nap);
    said.by_result = error_of(second);
    auto third = co_await call(counted_nap);
    said.by_value = error_of(third);
    co_return said;
}

template <class Call>
Said asked(Call call) {
    ReportingLoop loop;
    auto said = loop->run([&]() -> Task<Said> {
        auto answers = co_await ask(call);
        co_return answers;
    });
    REQUIRE(said);
    check_nothing_left(*loop);
    return *said;
}

} // namespace

TEST_CASE("cut short by its own deadline: timed_out, whatever the task returns") {
    const auto said = asked([](auto task) { return with_timeout(1ms, task, 1000ms); });
    CHECK(said.by_void == timed_out);
    CHECK(said.by_result == timed_out);
    CHECK(said.by_value == timed_out);
}

TEST_CASE("a deadline after the task has finished changes nothing") {
    const auto said = asked([](auto task) { return with_timeout(1h, task, 1ms); });
    CHECK(said.by_void == std::error_code());
    CHECK(said.by_result == std::error_code());
    CHECK(said.by_value == std::error_code());
}

TEST_CASE("cut short by an outer deadline: operation_canceled inside, and a value is delivered") {
    const auto said =
        asked([]<class T>(Task<T> (*task)(std::chrono::milliseconds)) -> Task<Outcome<T>> {
            Outcome<T> inner(std::errc::io_error);
            auto outer = [&]() -> Task<> {
                auto answer = co_await with_timeout(1h, task, 1000ms);
                std::destroy_at(&inner);
                std::construct_at(&inner, std::move(answer));
            };
            auto late = co_await with_timeout(1ms, outer);
            CHECK(late.error() == timed_out);
            co_return std::move(inner);
        });
    CHECK(said.by_void == canceled);
    CHECK(said.by_result == canceled);
    CHECK(said.by_value == std::error_code());
}

TEST_CASE("a task that is cancelled and joined") {
    const auto said =
        asked([]<class T>(Task<T> (*task)(std::chrono::milliseconds)) -> Task<Outcome<T>> {
            std::optional<Outcome<T>> outcome;
            auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
                auto handle = group.spawn(task, 1000ms);
                auto turned = co_await yield();
                CHECK(turned);
                handle.cancel();
                auto joined = co_await handle.join();
                outcome.emplace(std::move(joined));
            });
            CHECK(done); // a task cancelled by its handle does not fail the group
            co_return std::move(*outcome);
        });
    CHECK(said.by_void == canceled);
    CHECK(said.by_result == canceled);
    CHECK(said.by_value == std::error_code());
}

TEST_CASE("the loser of a when_any, and a task cut short in a when_all") {
    const auto any =
        asked([]<class T>(Task<T> (*task)(std::chrono::milliseconds)) -> Task<Outcome<T>> {
            auto ended = co_await when_any(nap(1ms), task(1000ms));
            co_return std::move(std::get<1>(ended.results));
        });
    CHECK(any.by_void == canceled);
    CHECK(any.by_result == canceled);
    CHECK(any.by_value == std::error_code());
    const auto all =
        asked([]<class T>(Task<T> (*task)(std::chrono::milliseconds)) -> Task<Outcome<T>> {
            auto failing = []() -> Task<Result<void>> { co_return std::errc::io_error; };
            auto [failed, cut] = co_await when_all(failing(), task(1000ms));
            CHECK(failed.error() == std::errc::io_error);
            co_return std::move(cut);
        });
    CHECK(all.by_void == canceled);
    CHECK(all.by_result == canceled);
    CHECK(all.by_value == std::error_code());
}

TEST_CASE("a group whose body or task is cut short from outside") {
    ReportingLoop loop;
    auto ran = loop->run([&]() -> Task<> {
        // Each kind of body.
        std::error_code of_void, of_result, of_value, of_task;
        auto groups = [&]() -> Task<> {
            auto together = co_await when_all(
                [](std::error_code* said) -> Task<> {
                    auto done = co_await with_task_group(
                        [](TaskGroup&) -> Task<> { co_await nap(1000ms); });
                    *said = done.error();
                }(&of_void),
                [](std::error_code* said) -> Task<> {
                    auto body = [](TaskGroup&) -> Task<Result<void>> {
                        auto slept = co_await honest_nap(1000ms);
                        co_return slept;
                    };
                    auto done = co_await with_task_group(body);
                    *said = done.error();
                }(&of_result),
                [](std::error_code* said) -> Task<> {
                    auto body = [](TaskGroup&) -> Task<int> {
                        auto count = co_await counted_nap(1000ms);
                        co_return count;
                    };
                    auto done = co_await with_task_group(body);
                    *said = done.error();
                }(&of_value),
                [](std::error_code* said) -> Task<> {
                    auto done = co_await with_task_group([](TaskGroup& group) -> Task<> {
                        group.spawn(nap, 1000ms);
                        co_return;
                    });
                    *said = done.error();
                }(&of_task));
            static_cast<void>(together);
        };
        auto late = co_await with_timeout(1ms, groups);
        CHECK(late.error() == timed_out);
        CHECK(of_void == canceled);
        CHECK(of_result == canceled);
        CHECK(of_value == std::error_code());
        CHECK(of_task == canceled);
    });
    CHECK(ran);
}

TEST_CASE("a group that is cancelled from inside succeeds") {
    ReportingLoop loop;
    auto ran = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([](TaskGroup& group) -> Task<> {
            group.spawn(nap, 1000ms);
            group.cancel();
            co_await nap(1000ms);
        });
        CHECK(done);
    });
    CHECK(ran);
}

TEST_CASE("with_timeout around start") {
    ReportingLoop loop;
    auto ran = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([](TaskGroup& group) -> Task<> {
            auto never_ready = [](Ready<>) -> Task<> { co_await nap(1000ms); };
            auto starter = [&]() -> Task<> {
                auto started = co_await group.start(never_ready);
                CHECK(started.error() == canceled);
            };
            auto late = co_await with_timeout(1ms, starter);
            CHECK(late.error() == timed_out);
        });
        CHECK(done);
    });
    CHECK(ran);
}

TEST_CASE("a run that is stopped") {
    ReportingLoop loop;
    auto stopped = [&]() -> Task<> {
        loop->stop();
        co_await nap(1000ms);
    };
    auto ran = loop->run(stopped);
    CHECK(ran.error() == canceled);
    auto honest = [&]() -> Task<Result<void>> {
        loop->stop();
        auto slept = co_await honest_nap(1000ms);
        co_return slept;
    };
    ran = loop->run(honest);
    CHECK(ran.error() == canceled);
}

TEST_CASE(
    "an inner cancellation is not attributed to an outer deadline, and values are delivered") {
    ReportingLoop loop;
    auto ran = loop->run([&]() -> Task<> {
        // The outer deadline passes while the inner group, which cancelled itself, cleans up in a shield.
        auto work = [&]() -> Task<int> {
            auto inner = co_await with_task_group([](TaskGroup& group) -> Task<> {
                group.cancel();
                co_await nap(1000ms); // refused: the group is cancelled
                auto cleaned = co_await shield(nap, 10ms);
                CHECK(cleaned);
                co_await nap(1000ms); // again
            });
            CHECK(inner);
            auto reason = co_await cancelled();
            CHECK(reason == CancelReason::deadline);
            co_return 7;
        };
        auto seven = co_await with_timeout(3ms, work);
        CHECK(seven.value() == 7);
        // The same with an inner deadline, and a task without a value.
        auto nothing_lost = [&]() -> Task<> {
            auto inner = co_await with_timeout(1ms, [&]() -> Task<> {
                co_await nap(1000ms);
                auto cleaned = co_await shield(nap, 10ms);
                CHECK(cleaned);
                co_await nap(1000ms);
            });
            CHECK(inner.error() == timed_out);
        };
        auto done = co_await with_timeout(3ms, nothing_lost);
        CHECK(done);
    });
    CHECK(ran);
}
