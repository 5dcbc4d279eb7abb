// A group body's variables die when it returns, before its tasks end. A task that still uses one is reported.

#include "base/sanitizer.hpp"
#include "death.hpp"
#include "net.hpp"

#include <memory>
#include <string>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

void use_after_the_body() {
    auto loop = EventLoop::create();
    auto ran = loop->run([]() -> Task<> {
        auto done = co_await with_task_group(
            [](TaskGroup& group) -> Task<> {
                int count = 0;
                auto work = [&count]() -> Task<> {
                    auto slept = co_await sleep_for(1ms);
                    count += slept.has_value() ? 1 : 0;
                };
                group.spawn(work);
                auto turned =
                    co_await yield(); // clang keeps variables on the stack unless an await follows
                static_cast<void>(turned);
            },
            GroupOptions{.name = "careless"});
        static_cast<void>(done);
    });
    static_cast<void>(ran);
}

} // namespace

TEST_CASE(
    "a task that uses a variable of its group's finished body aborts, with the group's name") {
#ifdef NDEBUG
    if (!address_sanitizer_runs) RINGLET_SKIP("only debug builds and ASan look");
#endif
    const auto outcome = run_in_child(use_after_the_body);
    CHECK_FALSE(outcome.succeeded());
    CAPTURE(outcome.error_output);
    CHECK(outcome.error_output.find(
              "a task of group \"careless\" uses what was declared in the group's body") !=
          std::string::npos);
}

TEST_CASE(
    "groups whose tasks use variables declared outside the body leave nothing, at any depth") {
    ReportingLoop loop;
    const auto before = FramePool::local().in_use().block_count;
    auto ran = loop->run([]() -> Task<> {
        int count = 0;
        auto work = [&count](std::unique_ptr<int> by) -> Task<> {
            auto slept = co_await sleep_for(100us);
            count += slept ? *by : 0;
        };
        auto inner = [&](TaskGroup& group) -> Task<> {
            group.spawn(work, std::make_unique<int>(1));
            co_return;
        };
        auto nested = [&]() -> Task<> {
            auto done = co_await with_task_group(inner);
            CHECK(done);
        };
        for (int i = 0; i < 3; ++i) {
            auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
                group.spawn(nested);
                group.spawn(work, std::make_unique<int>(10));
                co_return;
            });
            CHECK(done);
        }
        CHECK(count == 33);
    });
    CHECK(ran);
    CHECK(FramePool::local().in_use().block_count == before);
}
