// Leaving a loop at every moment, whatever its tasks are doing: tasks that obey their cancellation clean up behind
// shields, the others are destroyed where they are suspended, and whatever they held or were given is released. ASan
// finds a frame, a timer or a job that is touched afterwards.

#include "net.hpp"

#include <memory>
#include <random>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

constexpr int deepest = 3;
constexpr int most_tasks = 24;
constexpr unsigned trees = sanitizer_runs ? 200 : 1000;

/// What the tasks of one tree share; it outlives the loop's run.
struct World {
    World(EventLoop& on, unsigned seed) : random(seed), letters(on, 2, "letters") {}

    std::mt19937 random;
    int tasks = 0;
    Event event{"never"};
    Mutex first{"first"}, second{"second"};
    Semaphore permits{1, "permits"};
    CondVar changed{"changed"};
    Barrier barrier{3, "barrier"};
    Channel<std::unique_ptr<int>> buffered{1, "buffered"}, direct{0, "direct"};
    ThreadChannel<std::unique_ptr<int>> letters;
    std::vector<int> touched; // by destructors of destroyed frames

    unsigned below(unsigned limit) { return static_cast<unsigned>(random() % limit); }
};

/// A local whose destructor acts on what other tasks use.
struct Parting {
    World* world;
    ~Parting() {
        world->touched.push_back(1);
        world->event.set();
        world->event.clear();
        world->permits.release();
        static_cast<void>(world->permits.try_acquire());
        world->changed.notify_all();
        static_cast<void>(world->buffered.try_recv());
    }
};

// Behind a shield nothing waits for another thread, or for long: leaving the loop would wait for it.
Task<> one_wait(World* world, bool shielded);

Task<> hold_both(World* world, bool in_order, bool shielded) {
    auto one = co_await (in_order ? world->first : world->second).lock();
    if (!one) co_return;
    co_await one_wait(world, shielded);
    auto two = co_await (in_order ? world->second : world->first).lock();
    if (!two) co_return;
    co_await one_wait(world, shielded);
}

Task<> one_wait(World* world, bool shielded) {
    const Parting parting{world};
    switch (world->below(shielded ? 10 : 12)) {
    case 0:
        static_cast<void>(co_await sleep_for(std::chrono::microseconds(world->below(400))));
        break;
    case 1: static_cast<void>(co_await when_any(world->event.wait(), sleep_for(200us))); break;
    case 2: static_cast<void>(co_await world->event.wait()); break;
    case 3: {
        auto permit = co_await world->permits.acquire();
        if (!permit) break;
        static_cast<void>(co_await yield());
        world->permits.release();
        break;
    }
    case 4: {
        auto guard = co_await world->first.lock();
        if (!guard) break;
        static_cast<void>(co_await world->changed.wait(*guard));
        break;
    }
    case 5: static_cast<void>(co_await world->barrier.arrive_and_wait()); break;
    case 6: static_cast<void>(co_await world->buffered.send(std::make_unique<int>(1))); break;
    case 7: static_cast<void>(co_await world->direct.recv()); break;
    case 8: static_cast<void>(co_await yield()); break;
    case 9: {
        auto job = [] { std::this_thread::sleep_for(100us); };
        static_cast<void>(co_await run_blocking(job));
        break;
    }
    case 10: static_cast<void>(co_await sleep_for(1h)); break;
    default: static_cast<void>(co_await world->letters.recv());
    }
}

Task<> node(World* world, int depth, bool shielded) {
    const Parting parting{world};
    auto deeper = [world, depth, shielded]() -> Task<> {
        co_await node(world, depth + 1, shielded);
    };
    auto deeper_in_shield = [world, depth]() -> Task<> { co_await node(world, depth + 1, true); };
    auto clean_up = [world]() -> Task<> {
        for (unsigned left = world->below(4); left > 0; --left) co_await one_wait(world, true);
    };
    const unsigned kind =
        depth >= deepest || world->tasks >= most_tasks ? world->below(5) : world->below(9);
    switch (kind) {
    case 0: co_await one_wait(world, shielded); break;
    case 1: co_await hold_both(world, world->below(2) == 0, shielded); break;
    case 2: // ignores its cancellation
        for (;;) co_await one_wait(world, shielded);
    case 3: // cleans up, again and again
        co_await one_wait(world, shielded);
        for (int i = 0; i < 3; ++i) static_cast<void>(co_await shield(clean_up));
        break;
    case 4: static_cast<void>(co_await with_timeout(300us, clean_up)); break;
    case 5: static_cast<void>(co_await when_all(deeper(), deeper())); break;
    case 6: static_cast<void>(co_await with_timeout(500us, deeper)); break;
    case 7: static_cast<void>(co_await shield(deeper_in_shield)); break;
    default: {
        auto body = [world, &deeper](TaskGroup& group) -> Task<> {
            for (unsigned left = 1 + world->below(3); left > 0; --left, ++world->tasks) {
                auto handle = group.spawn(deeper);
                if (world->below(4) != 0) continue;
                auto joined = co_await handle.join();
                static_cast<void>(joined);
            }
        };
        auto bounded = [world, &deeper](BoundedTaskGroup& group) -> Task<> {
            for (unsigned left = 1 + world->below(3); left > 0; --left, ++world->tasks) {
                auto handle = co_await group.spawn(deeper);
                static_cast<void>(handle);
            }
        };
        if (world->below(2) == 0) {
            static_cast<void>(co_await with_task_group(body));
        } else {
            static_cast<void>(co_await with_bounded_task_group(1, bounded));
        }
    }
    }
}

void leave_trees(Backend backend) {
    LoopOptions options{.backend = backend, .blocking_threads = 2};
    options.report = [](std::string_view) {};
    if (!EventLoop::create(options)) RINGLET_SKIP("this kernel is not available");
    for (unsigned seed = 1; seed <= trees; ++seed) {
        CAPTURE(seed);
        waiting_for("a loop to be left");
        auto loop = EventLoop::create(options);
        REQUIRE(loop);
        World world(*loop, seed);
        auto ran = loop->run([&]() -> Task<> {
            for (int i = 0; i < 4; ++i) loop->spawn("node", node, &world, 0, false);
            for (unsigned turns = world.below(30); turns > 0; --turns)
                static_cast<void>(co_await yield());
            if (world.below(2) == 0)
                static_cast<void>(co_await sleep_for(std::chrono::microseconds(world.below(800))));
        });
        REQUIRE(ran);
        check_nothing_left(*loop);
        REQUIRE_FALSE(world.first.is_locked());
        REQUIRE_FALSE(world.second.is_locked());
        auto again = loop->run([]() -> Task<int> {
            auto slept = co_await sleep_for(10us);
            co_return slept ? 1 : 0;
        });
        REQUIRE(again.value() == 1);
    }
}

} // namespace

TEST_CASE("a loop can be left at any moment, whatever its tasks are doing: io_uring") {
    leave_trees(Backend::io_uring);
}

TEST_CASE("a loop can be left at any moment, whatever its tasks are doing: epoll") {
    leave_trees(Backend::epoll);
}
