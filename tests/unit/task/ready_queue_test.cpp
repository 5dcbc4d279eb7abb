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

// All waits taken out in one batch, oldest first.
std::vector<Wait*> taken(ReadyQueue& queue) {
    std::vector<Wait*> waits;
    queue.begin_batch();
    while (Wait* wait = queue.next()) waits.push_back(wait);
    return waits;
}

} // namespace

TEST_CASE("ReadyQueue is first come first served") {
    ReadyQueue queue;
    CHECK(queue.empty());
    CHECK(taken(queue).empty());
    std::array<Waiting, 3> waiting;
    for (auto& wait : waiting) queue.push(wait);
    CHECK_FALSE(queue.empty());
    CHECK(taken(queue) == std::vector<Wait*>{&waiting[0], &waiting[1], &waiting[2]});
    CHECK(queue.empty());
    CHECK(taken(queue).empty());
}

TEST_CASE("ReadyQueue keeps waits that come during a batch for the next one") {
    ReadyQueue queue;
    std::array<Waiting, 3> waiting;
    for (auto& wait : waiting) queue.push(wait);
    std::size_t taken_count = 0;
    queue.begin_batch();
    while (Wait* next = queue.next()) {
        queue.push(*next);
        ++taken_count;
    }
    CHECK(taken_count == 3);
    CHECK(taken(queue) == std::vector<Wait*>{&waiting[0], &waiting[1], &waiting[2]});
}

TEST_CASE("ReadyQueue can remove a wait at any position, in the batch or behind it") {
    for (std::size_t gone = 0; gone < 6; ++gone) {
        ReadyQueue queue;
        std::array<Waiting, 7> waiting;
        std::vector<Wait*> expected;
        for (std::size_t i = 0; i < 6; ++i) {
            if (i == 3) queue.begin_batch();
            queue.push(waiting[i]);
            if (i != gone) expected.push_back(&waiting[i]);
        }
        queue.remove(waiting[gone]);
        queue.remove(waiting[6]); // was never in it
        std::vector<Wait*> seen;
        while (Wait* wait = queue.next()) seen.push_back(wait);
        queue.push(waiting[6]); // after the last one left
        expected.push_back(&waiting[6]);
        for (Wait* wait : taken(queue)) seen.push_back(wait);
        CHECK(seen == expected);
    }
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
