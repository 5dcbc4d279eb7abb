#include "serve/worker_survey.hpp"

#include "net.hpp"

#include <ringlet/task_group.hpp>

#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

WorkerSnapshot with_connections(std::size_t count) {
    WorkerSnapshot snapshot;
    snapshot.live_connections = count;
    return snapshot;
}

// Two workers on the thread of the test: the first answers at once, the second on request.
struct TwoWorkers {
    std::size_t questions_to_second = 0;
    bool second_has_ended = false;
    bool ends_when_asked = false;
    WorkerSurvey::Answer kept;

    bool ask(std::size_t worker, WorkerSurvey::Answer answer) {
        if (worker == 0) {
            if (answer) answer(with_connections(1));
            return true;
        }
        if (answer) {
            ++questions_to_second;
            kept = std::move(answer);
            if (ends_when_asked) return second_has_ended = true;
        }
        return !second_has_ended;
    }
    WorkerSurvey::Ask asking() {
        return [this](std::size_t worker, WorkerSurvey::Answer answer) {
            return ask(worker, std::move(answer));
        };
    }
};

} // namespace

TEST_CASE("a survey: a worker that is late is missing, and is not asked again until it answers") {
    ReportingLoop loop;
    TwoWorkers workers;
    WorkerSurvey survey(*loop, 2, workers.asking());
    auto body = [&]() -> Task<> {
        for (int round = 0; round < 3; ++round) {
            auto states = co_await survey.ask_all();
            REQUIRE(states.size() == 2);
            REQUIRE(states[0].snapshot);
            CHECK(states[0].snapshot->live_connections == 1);
            CHECK_FALSE(states[1].snapshot);
            CHECK_FALSE(states[1].has_ended);
            CHECK(workers.questions_to_second == 1);
        }
        workers.kept(with_connections(2)); // late, but still true
        auto states = co_await survey.ask_all();
        REQUIRE(states[1].snapshot);
        CHECK(states[1].snapshot->live_connections == 2);
    };
    auto ran = loop->run(body);
    CHECK(ran);
}

TEST_CASE("a survey: a worker that ends without an answer no longer delays a survey") {
    ReportingLoop loop;
    TwoWorkers workers;
    WorkerSurvey survey(*loop, 2, workers.asking());
    auto body = [&]() -> Task<> {
        auto states = co_await survey.ask_all();
        CHECK_FALSE(states[1].has_ended);
        workers.second_has_ended = true;
        const auto begin = Clock::now();
        for (int round = 0; round < 100; ++round) {
            auto later = co_await survey.ask_all();
            CHECK(later[1].has_ended);
            CHECK(later[0].snapshot);
        }
        CHECK(Clock::now() - begin < 50 * WorkerSurvey::patience);
    };
    auto ran = loop->run(body);
    CHECK(ran);
}

TEST_CASE("a survey: a worker that ends while it is asked has ended, and is not stuck") {
    ReportingLoop loop;
    TwoWorkers workers{.ends_when_asked = true};
    WorkerSurvey survey(*loop, 2, workers.asking());
    auto body = [&]() -> Task<> {
        auto states = co_await survey.ask_all();
        CHECK(states[1].has_ended);
        CHECK_FALSE(states[1].snapshot);
    };
    auto ran = loop->run(body);
    CHECK(ran);
}

TEST_CASE("a survey: simultaneous callers share one survey") {
    ReportingLoop loop;
    TwoWorkers workers;
    std::size_t questions_to_first = 0;
    WorkerSurvey survey(*loop, 2, [&](std::size_t worker, WorkerSurvey::Answer answer) {
        if (worker == 0 && answer) ++questions_to_first;
        return workers.ask(worker, std::move(answer));
    });
    auto body = [&]() -> Task<> {
        auto all = [&](TaskGroup& group) -> Task<> {
            for (int asker = 0; asker < 20; ++asker) {
                group.spawn([&]() -> Task<> {
                    auto states = co_await survey.ask_all();
                    CHECK(states[0].snapshot);
                });
            }
            co_return;
        };
        auto asked = co_await with_task_group(all);
        CHECK(asked);
    };
    auto ran = loop->run(body);
    CHECK(ran);
    CHECK(questions_to_first == 1);
}
