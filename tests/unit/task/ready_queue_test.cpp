#include "support.hpp"

#include <ringlet/detail/ready_queue.hpp>

#include <array>
#include <random>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

struct Waiting final : Wait {
    void cancel() noexcept override {}
    std::string describe() const override { return "nothing"; }
};

// All that are taken out at once, oldest first.
std::vector<Wait*> taken(ReadyQueue& queue) {
    std::vector<Wait*> waits;
    for (Wait* wait = queue.take_all(); wait != nullptr; wait = wait->next_ready) {
        waits.push_back(wait);
    }
    return waits;
}

} // namespace

TEST_CASE("ReadyQueue is first come first served") {
    ReadyQueue queue;
    CHECK(queue.empty());
    CHECK(queue.take_all() == nullptr);
    std::array<Waiting, 3> waiting;
    for (auto& wait : waiting) queue.push(wait);
    CHECK_FALSE(queue.empty());
    CHECK(taken(queue) == std::vector<Wait*>{&waiting[0], &waiting[1], &waiting[2]});
    CHECK(queue.empty());
    CHECK(queue.take_all() == nullptr);
}

TEST_CASE("ReadyQueue keeps what comes while others are taken out for the next time") {
    ReadyQueue queue;
    std::array<Waiting, 3> waiting;
    for (auto& wait : waiting) queue.push(wait);
    std::size_t taken_count = 0;
    for (Wait* next = queue.take_all(); next != nullptr;) {
        Wait& wait = *next;
        next = wait.next_ready;
        queue.push(wait);
        ++taken_count;
    }
    CHECK(taken_count == 3);
    CHECK(taken(queue) == std::vector<Wait*>{&waiting[0], &waiting[1], &waiting[2]});
}

TEST_CASE("ReadyQueue agrees with a list after many changes") {
    ReadyQueue queue;
    std::vector<Wait*> model;
    std::vector<Waiting> objects(32);
    std::vector<Wait*> outside;
    for (auto& object : objects) outside.push_back(&object);
    std::mt19937 random(7);
    for (int step = 0; step < 20'000; ++step) {
        if (!outside.empty() && random() % 8 != 0) {
            Wait* object = outside.back();
            outside.pop_back();
            queue.push(*object);
            model.push_back(object);
        } else {
            REQUIRE(taken(queue) == model);
            outside.insert(outside.end(), model.begin(), model.end());
            model.clear();
        }
        REQUIRE(queue.empty() == model.empty());
    }
}
