// How a group hands over its places, and ends, in every order of events.

#include "net.hpp"

#include <ringlet/ringlet.hpp>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// Its move throws on request.
struct Argument {
    explicit Argument(bool throws) : bad(throws) {}
    Argument(Argument&& other) : bad(other.bad) {
        if (bad) throw std::runtime_error("move");
    }
    bool bad;
};

enum class Does { spawns, spawn_throws, waits_and_spawns_nothing, is_cancelled, count };
constexpr auto kinds = static_cast<std::size_t>(Does::count);

struct Outcomes {
    int spawned = 0, threw = 0, had_room = 0, canceled = 0;
};

// Four actors want a place in a full group of one, in this order, from inside or outside; then its task ends.
Task<Outcomes> play(std::array<Does, 4> actors, bool from_outside) {
    Outcomes outcomes;
    Event begin("begin"), end("end");
    auto job = [](Argument) -> Task<> { co_return; };
    auto first = [&](Argument) -> Task<> {
        auto told = co_await end.wait();
        static_cast<void>(told);
    };
    BoundedTaskGroup* pool = nullptr;
    auto act = [&](Does does) -> Task<> {
        if (does == Does::waits_and_spawns_nothing) {
            auto room = co_await pool->wait_for_room();
            outcomes.had_room += room.has_value() ? 1 : 0;
            co_return;
        }
        try {
            auto handle = co_await pool->spawn(job, Argument(does == Does::spawn_throws));
            outcomes.spawned += handle.has_value() ? 1 : 0;
            outcomes.canceled += handle.has_value() ? 0 : 1;
        } catch (const std::runtime_error&) {
            ++outcomes.threw;
        }
    };
    auto spawn_all = [&](TaskGroup& where) {
        for (const Does does : actors) {
            auto handle = where.spawn(act, does);
            if (does == Does::is_cancelled) {
                handle.cancel();
            }
        }
    };
    auto run_pool = [&]() -> Task<> {
        auto body = [&](BoundedTaskGroup& group) -> Task<> {
            pool = &group;
            auto started = co_await group.spawn(first, Argument(false));
            CHECK(started);
            if (from_outside) {
                begin.set();
                co_return; // the group's end waits for outside tasks that wait for a place
            }
            auto done = co_await with_task_group([&](TaskGroup& inside) -> Task<> {
                spawn_all(inside);
                for (int turn = 0; turn < 3; ++turn) static_cast<void>(co_await yield());
                end.set();
            });
            CHECK(done);
        };
        auto done = co_await with_bounded_task_group(1, body);
        CHECK(done);
        pool = nullptr;
    };
    auto everybody = [&](TaskGroup& outside) -> Task<> {
        outside.spawn(run_pool);
        if (!from_outside) co_return;
        auto begun = co_await begin.wait();
        CHECK(begun);
        spawn_all(outside);
        for (int turn = 0; turn < 3; ++turn) static_cast<void>(co_await yield());
        end.set();
    };
    auto done = co_await with_task_group(everybody);
    CHECK(done);
    co_return outcomes;
}

} // namespace

TEST_CASE("a promised place that is not taken goes to the next waiter, whatever earlier ones do") {
    std::size_t orders = kinds * kinds * kinds * kinds;
    for (std::size_t order = 0; order < orders; ++order) {
        std::array<Does, 4> actors{};
        std::size_t rest = order;
        Outcomes expected;
        for (Does& does : actors) {
            does = static_cast<Does>(rest % kinds);
            rest /= kinds;
            expected.spawned += does == Does::spawns ? 1 : 0;
            expected.threw += does == Does::spawn_throws ? 1 : 0;
            expected.had_room += does == Does::waits_and_spawns_nothing ? 1 : 0;
            expected.canceled += does == Does::is_cancelled ? 1 : 0;
        }
        for (const bool from_outside : {false, true}) {
            CAPTURE(order);
            CAPTURE(from_outside);
            waiting_for("four actors that come to a full group, and its end");
            ReportingLoop loop;
            auto outcomes = loop->run(play, actors, from_outside);
            REQUIRE(outcomes);
            CHECK(outcomes->spawned == expected.spawned);
            CHECK(outcomes->threw == expected.threw);
            CHECK(outcomes->had_room == expected.had_room);
            CHECK(outcomes->canceled == expected.canceled);
            check_nothing_left(*loop);
        }
    }
}

TEST_CASE("a task outside a group, woken by the group's last task, may still spawn into it") {
    ReportingLoop loop;
    int late = 0;
    auto ran = loop->run([&]() -> Task<> {
        TaskGroup* inner = nullptr;
        JoinHandle<void> last;
        Event begun("begun");
        auto outside = [&]() -> Task<> {
            auto told = co_await begun.wait();
            CHECK(told);
            auto ended = co_await last.join();
            CHECK(ended);
            if (inner != nullptr)
                inner->spawn([&]() -> Task<> {
                    ++late;
                    static_cast<void>(co_await yield());
                });
        };
        auto runs_group = [&]() -> Task<> {
            auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
                inner = &group;
                last = group.spawn([]() -> Task<> { static_cast<void>(co_await yield()); });
                begun.set();
                co_return;
            });
            inner = nullptr;
            CHECK(done);
            last = {};
        };
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.spawn(outside);
            group.spawn(runs_group);
            co_return;
        });
        CHECK(done);
    });
    CHECK(ran);
    CHECK(late <= 1);
}

TEST_CASE("every failure of a group goes to its list, in order, whatever its policy") {
    auto failing = [](std::errc error) -> Task<Result<void>> { co_return error; };
    for (const auto on_failure : {OnFailure::cancel_siblings, OnFailure::report}) {
        ReportingLoop loop;
        std::vector<TaskFailure> failures;
        const GroupOptions options{
            .name = "listed", .on_failure = on_failure, .failures = &failures};
        auto ran = loop->run([&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<Result<void>> {
                group.spawn("first", failing, std::errc::broken_pipe);
                group.spawn("second", failing, std::errc::no_space_on_device);
                auto slept = co_await sleep_for(5ms);
                static_cast<void>(slept);
                co_return std::errc::io_error; // the body's own clean-up
            };
            auto done = co_await with_task_group(body, options);
            const bool apart = on_failure == OnFailure::report;
            CHECK(done.error() == (apart ? std::errc::io_error : std::errc::broken_pipe));
        });
        CHECK(ran);
        REQUIRE(failures.size() == 3);
        CHECK(failures[0].error == std::errc::broken_pipe);
        CHECK(failures[1].error == std::errc::no_space_on_device);
        CHECK(failures[2].error == std::errc::io_error);
        CHECK(failures[2].task == "body of group listed");
        CHECK(loop.reports.empty());
    }
}
