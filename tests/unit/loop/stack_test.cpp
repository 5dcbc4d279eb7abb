// Millions of awaits in a row must not grow the stack: not at -O0, not under a sanitizer, where a
// compiler makes no tail calls.

#include "net.hpp"
#include "support.hpp"

#include <algorithm>
#include <cstdint>

using namespace ringlet;

namespace {

// Fewer are enough under a sanitizer, where each costs ten times as much and frames are larger.
constexpr int await_count = testing::sanitizer_runs ? 500'000 : 10'000'000;
// How many children there are for each one that waits.
constexpr int awaits_between_yields = 1000;
// A child that waits costs a trip through the loop, ten times the time of one that does not.
constexpr int yield_count = testing::sanitizer_runs ? 200'000 : 1'000'000;
constexpr int spawn_count = yield_count;

// How much the stack depth may vary: a few frames, which sanitizers make large. Growth by one byte
// per await would be a thousand times as much.
constexpr std::uintptr_t depth_tolerance_bytes = 10'000;

// The deepest and the shallowest stack address seen.
class Depth {
public:
    // Not the address of a local variable: ASan keeps those elsewhere.
    [[gnu::noinline]] void note() {
        const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        lowest_ = std::min(lowest_, here);
        highest_ = std::max(highest_, here);
    }
    [[nodiscard]] std::uintptr_t range_bytes() const { return highest_ - lowest_; }

private:
    std::uintptr_t lowest_ = UINTPTR_MAX;
    std::uintptr_t highest_ = 0;
};

Task<int> never_waits(Depth* depth, int value) {
    depth->note();
    co_return value;
}

Task<int> waits_sometimes(Depth* depth, int value) {
    depth->note();
    if (value % awaits_between_yields == 0) {
        const auto turned = co_await yield();
        depth->note();
        if (!turned) co_return -1;
    }
    co_return value;
}

Task<int> waits_always(Depth* depth, int value) {
    const auto turned = co_await yield();
    depth->note();
    co_return turned ? value : -1;
}

// Two levels: the child's own child waits.
Task<int> waits_below(Depth* depth, int value) {
    depth->note();
    const int below = co_await waits_sometimes(depth, value);
    co_return below;
}

using Child = Task<int> (*)(Depth*, int);

Task<int> await_many(Child child, int count, Depth* depth) {
    int right_count = 0;
    for (int i = 0; i < count; ++i) {
        const int value = co_await child(depth, i);
        if (value == i) ++right_count;
    }
    depth->note();
    co_return right_count;
}

void check_flat(Child child, int count) {
    testing::waiting_for("millions of awaits");
    Depth depth;
    const auto right_count = testing::run_on_loop(await_many, child, count, &depth);
    REQUIRE(right_count);
    CHECK(*right_count == count);
    CHECK(depth.range_bytes() < depth_tolerance_bytes);
    MESSAGE(count, " awaits, depth of the stack within ", depth.range_bytes(), " bytes");
}

} // namespace

TEST_CASE("stack stays flat over millions of children that never wait") {
    check_flat(never_waits, await_count);
}

TEST_CASE("stack stays flat over millions of children of which some wait") {
    check_flat(waits_sometimes, await_count);
}

TEST_CASE("stack stays flat over millions of children whose own children sometimes wait") {
    check_flat(waits_below, await_count / 2);
}

TEST_CASE("stack stays flat over a million children that always wait") {
    check_flat(waits_always, yield_count);
}

TEST_CASE("stack stays flat over a chain of a million tasks that each spawn the next") {
    testing::waiting_for("the last of a chain of tasks");
    struct Chain {
        EventLoop* loop = nullptr;
        Depth depth;
        int link_count = 0;
        std::size_t most_alive = 0;

        static Task<> link(Chain* chain) {
            chain->depth.note();
            chain->most_alive = std::max(chain->most_alive, chain->loop->stats().live_tasks);
            if (++chain->link_count < spawn_count) chain->loop->spawn(link, chain);
            co_return;
        }
        static Task<> root(Chain* chain) {
            chain->loop->spawn(link, chain);
            while (chain->link_count < spawn_count) {
                const auto turned = co_await yield();
                if (!turned) co_return;
            }
        }
    };
    auto loop = EventLoop::create();
    REQUIRE(loop);
    Chain chain;
    chain.loop = &*loop;
    const auto ran = loop->run(Chain::root, &chain);
    CHECK(ran);
    CHECK(chain.link_count == spawn_count);
    CHECK(chain.depth.range_bytes() < depth_tolerance_bytes);
    CHECK(chain.most_alive <= 3); // the root, a link, and the next one
}

TEST_CASE("stack stays flat when a hundred thousand tasks are ready at once") {
    testing::waiting_for("many tasks that were spawned at once");
    constexpr int task_count = 100'000;
    Depth depth;
    int finished_count = 0;
    auto loop = EventLoop::create();
    REQUIRE(loop);
    const auto root = [](EventLoop* owner, Depth* seen, int* finished) -> Task<> {
        const auto child = [](Depth* where, int* count) -> Task<> {
            for (int i = 0; i < 3; ++i) {
                const int value = co_await waits_always(where, i);
                if (value != i) co_return;
            }
            ++*count;
        };
        for (int i = 0; i < task_count; ++i) owner->spawn(child, seen, finished);
        while (*finished < task_count) {
            const auto turned = co_await yield();
            if (!turned) co_return;
        }
    };
    const auto ran = loop->run(root, &*loop, &depth, &finished_count);
    CHECK(ran);
    CHECK(finished_count == task_count);
    CHECK(depth.range_bytes() < depth_tolerance_bytes);
}
