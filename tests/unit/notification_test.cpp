#include "support.hpp"

#include "notification.hpp"

#include <memory>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

struct Scene {
    EventLoop* loop = nullptr;
    Notification bell;
    std::vector<std::string> events;
};

// Runs `root(&scene)` on a loop and returns what happened.
template <class Root>
std::vector<std::string> play(Root root) {
    Scene scene;
    auto loop = EventLoop::create();
    REQUIRE(loop);
    scene.loop = &*loop;
    const auto ran = loop->run(root, &scene);
    CHECK(ran);
    return scene.events;
}

Task<> wait_for_bell(Scene* scene, std::string name) {
    scene->events.push_back(name + " waits");
    co_await scene->bell.wait();
    scene->events.push_back(name + " goes on");
}

using Events = std::vector<std::string>;

} // namespace

TEST_CASE("Notification lets the waiter go on at a later turn and not inside of notify") {
    testing::waiting_for("a notification that was given");
    const auto root = [](Scene* scene) -> Task<> {
        const auto ring = [](Scene* where) -> Task<> {
            where->events.push_back("before notify");
            where->bell.notify(*where->loop);
            where->events.push_back("after notify");
            co_return;
        };
        scene->loop->spawn(ring, scene);
        co_await wait_for_bell(scene, "root");
    };
    CHECK(play(root) == Events{"root waits", "before notify", "after notify", "root goes on"});
}

TEST_CASE("Notification that came first ends the next wait at once") {
    const auto root = [](Scene* scene) -> Task<> {
        scene->bell.notify(*scene->loop);
        const auto turns_before = scene->loop->stats().turns;
        co_await wait_for_bell(scene, "root");
        scene->events.push_back(scene->loop->stats().turns == turns_before ? "same turn" : "later");
    };
    CHECK(play(root) == Events{"root waits", "root goes on", "same turn"});
}

TEST_CASE("Notification counts once however often it was given") {
    testing::waiting_for("the second notification");
    const auto root = [](Scene* scene) -> Task<> {
        for (int i = 0; i < 3; ++i) scene->bell.notify(*scene->loop);
        co_await wait_for_bell(scene, "first");
        const auto ring = [](Scene* where) -> Task<> {
            where->events.push_back("notify");
            where->bell.notify(*where->loop);
            where->bell.notify(*where->loop);
            co_return;
        };
        scene->loop->spawn(ring, scene);
        co_await wait_for_bell(scene, "second");
    };
    CHECK(play(root) ==
          Events{"first waits", "first goes on", "second waits", "notify", "second goes on"});
}

TEST_CASE("Notification serves many waits after each other") {
    testing::waiting_for("the next of a thousand notifications");
    constexpr int wait_count = 1000;
    const auto root = [](Scene* scene) -> Task<> {
        const auto ring = [](Scene* where) -> Task<> {
            for (int i = 0; i < wait_count; ++i) {
                where->bell.notify(*where->loop);
                const auto turned = co_await yield();
                if (!turned) co_return;
            }
        };
        scene->loop->spawn(ring, scene);
        for (int i = 0; i < wait_count; ++i) co_await scene->bell.wait();
        scene->events.push_back("done");
    };
    CHECK(play(root) == Events{"done"});
}

TEST_CASE("Notification to a waiter whose frame has gone touches no freed memory") {
    // The loop buries the newest task first: the waiter's frame goes before that of the guard,
    // which rings.
    struct Guard {
        Scene* scene;
        explicit Guard(Scene* where) : scene(where) {}
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;
        ~Guard() {
            scene->events.push_back("guard goes");
            scene->bell.notify(*scene->loop);
        }
    };
    struct Tasks {
        static Task<> hold_guard(Scene* scene, Notification* never) {
            const Guard guard(scene);
            co_await never->wait();
            scene->events.push_back("cannot happen");
        }
        static Task<> root(Scene* scene, Notification* never) {
            scene->loop->spawn(hold_guard, scene, never);
            scene->loop->spawn(wait_for_bell, scene, std::string("child"));
            const auto turned = co_await yield();
            static_cast<void>(turned);
        }
    };
    auto loop = EventLoop::create();
    REQUIRE(loop);
    Scene scene;
    Notification never;
    scene.loop = &*loop;
    auto ran = loop->run(Tasks::root, &scene, &never);
    CHECK(ran);
    CHECK(scene.events == Events{"child waits", "guard goes"});
    CHECK(loop->stats().live_tasks == 0);

    // And the loop works on.
    const auto turn_some = []() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            const auto turned = co_await yield();
            if (!turned) co_return;
        }
    };
    ran = loop->run(turn_some);
    CHECK(ran);
    CHECK(scene.events.size() == 2);
}
