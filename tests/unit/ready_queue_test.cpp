#include "support.hpp"

#include <ringlet/ready_queue.hpp>

#include <array>
#include <deque>
#include <random>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

struct Waiting final : Wait {
    void cancel() noexcept override {}
    std::string describe() const override { return "nothing"; }
};

} // namespace

TEST_CASE("ReadyQueue is first come first served") {
    ReadyQueue queue;
    CHECK(queue.empty());
    CHECK(queue.size() == 0);
    std::array<Waiting, 3> waiting;
    for (auto& wait : waiting) queue.push(wait);
    CHECK(queue.size() == 3);
    CHECK_FALSE(queue.empty());
    for (auto& expected : waiting) {
        Wait& oldest = queue.pop();
        CHECK(&oldest == &expected);
    }
    CHECK(queue.empty());
    CHECK(queue.size() == 0);
}

TEST_CASE("ReadyQueue takes an object again once it is out") {
    ReadyQueue queue;
    Waiting first;
    Waiting second;
    for (int round = 0; round < 3; ++round) {
        queue.push(first);
        queue.push(second);
        CHECK(&queue.pop() == &first);
        queue.push(first);
        CHECK(queue.size() == 2);
        CHECK(&queue.pop() == &second);
        CHECK(&queue.pop() == &first);
        CHECK(queue.empty());
    }
}

TEST_CASE("ReadyQueue agrees with std::deque after many changes") {
    ReadyQueue queue;
    std::deque<Wait*> model;
    std::vector<Waiting> objects(32);
    std::vector<Wait*> outside;
    for (auto& object : objects) outside.push_back(&object);
    std::mt19937 random(7);
    for (int step = 0; step < 20'000; ++step) {
        const bool pushes = model.empty() || (!outside.empty() && random() % 2 == 0);
        if (pushes) {
            Wait* object = outside.back();
            outside.pop_back();
            queue.push(*object);
            model.push_back(object);
        } else {
            Wait& oldest = queue.pop();
            REQUIRE(&oldest == model.front());
            model.pop_front();
            outside.push_back(&oldest);
        }
        REQUIRE(queue.size() == model.size());
        REQUIRE(queue.empty() == model.empty());
    }
}
