#include <ringlet/detail/when_core.hpp>

#include "net.hpp"

#include <ringlet/ringlet.hpp>

#include <array>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

Task<Result<int>> number_after(Event* event, int value) {
    auto told = co_await event->wait();
    if (!told) co_return told.error();
    co_return value;
}

Task<int> throw_after(Event* event, const char* what) {
    auto told = co_await event->wait();
    if (told) throw std::runtime_error(what);
    co_return 0;
}

using Both = decltype(when_all(std::declval<Task<int>>(), std::declval<Task<int>>()));
static_assert(std::is_nothrow_move_constructible_v<Both> && !std::is_copy_constructible_v<Both>);

} // namespace

TEST_CASE("a when_all can be moved before it is awaited") {
    Event go("go");
    go.set();
    auto awaits = [&]() -> Task<int> {
        auto both = when_all(number_after(&go, 1), number_after(&go, 20));
        auto moved = std::move(both);
        auto numbers = co_await moved;
        co_return *std::get<0>(numbers) + *std::get<1>(numbers);
    };
    auto sum = run_on_loop(awaits);
    REQUIRE(sum);
    CHECK(*sum == 21);
}

TEST_CASE("the index of when_any is that of the one that ended first") {
    std::size_t first = 0;
    auto awaits = [&]() -> Task<> {
        std::array<Event, 3> events{Event("a"), Event("b"), Event("c")};
        events[first].set();
        auto ended = co_await when_any(number_after(&events[0], 0), number_after(&events[1], 1),
                                       events[2].wait());
        CHECK(ended.index == first);
    };
    for (; first < 3; ++first) CHECK(run_on_loop(awaits));
}

TEST_CASE("of several exceptions the first is rethrown, after all have ended") {
    Event go("go");
    bool all_ended = false;
    auto awaits = [&]() -> Task<> {
        auto throws_last = [&]() -> Task<> {
            auto told = co_await sleep_for(1h);
            CHECK(!told);
            all_ended = true;
            throw std::runtime_error("last");
        };
        go.set();
        std::string what;
        try {
            auto all = co_await when_all(throws_last(), throw_after(&go, "first"));
            static_cast<void>(all);
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "first");
        CHECK(all_ended);
    };
    CHECK(run_on_loop(awaits));
}

TEST_CASE("an empty when_all ends at once") {
    auto awaits = []() -> Task<> {
        auto none = co_await when_all();
        static_assert(std::tuple_size_v<decltype(none)> == 0);
    };
    CHECK(run_on_loop(awaits));
}

TEST_CASE("the dump of a when_any shows how many have not ended") {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    std::string told;
    auto awaits = [&]() -> Task<> {
        Event never("never");
        auto waits = [&]() -> Task<> {
            auto ended = co_await when_any(never.wait(), sleep_for(1h));
            static_cast<void>(ended);
        };
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.spawn("waits", waits);
            const auto turned = co_await yield();
            static_cast<void>(turned);
            told = loop->dump(TaskList::full);
            group.cancel();
        });
        CHECK(done);
    };
    CHECK(loop->run(awaits));
    CHECK_MESSAGE(told.find("2 awaited together") != std::string::npos, told);
}
