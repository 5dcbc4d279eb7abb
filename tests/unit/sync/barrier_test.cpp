#include <ringlet/barrier.hpp>

#include "net.hpp"

#include <string>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("a cancelled arrival at a barrier is withdrawn, and a dropped one is not awaited") {
    ReportingLoop loop;
    Barrier barrier(3);
    std::string trace;
    auto arrive = [&](char name) -> Task<> {
        auto arrived = co_await barrier.arrive_and_wait();
        trace += arrived ? name : '-';
    };
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto first = group.spawn(arrive, 'a');
            group.spawn(arrive, 'b');
            static_cast<void>(co_await yield());
            first.cancel();
            group.spawn(arrive, 'c');
            for (int i = 0; i < 3; ++i) static_cast<void>(co_await yield());
            CHECK(trace == "-");
            barrier.arrive_and_drop();
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "-bc");
}
