#include "support.hpp"

#include <ringlet/detail/timers.hpp>

#include <map>
#include <random>
#include <utility>
#include <vector>

using namespace ringlet;

namespace {

using namespace std::chrono_literals;

Clock::time_point at(long tick) { return Clock::time_point(std::chrono::microseconds(tick)); }

// Records the order in which timers expire.
struct NotedTimer final : Timer {
    static inline std::vector<NotedTimer*> expired_ones;
    void expired() noexcept override { expired_ones.push_back(this); }
};

std::vector<NotedTimer*> take_all() { return std::exchange(NotedTimer::expired_ones, {}); }

// The order in which timers expire, by their place in `timers`.
std::vector<std::size_t> expire(Timers& heap, Clock::time_point now,
                                std::vector<NotedTimer>& timers) {
    heap.expire(now);
    std::vector<std::size_t> order;
    for (const NotedTimer* timer : take_all()) {
        order.push_back(static_cast<std::size_t>(timer - timers.data()));
    }
    return order;
}

} // namespace

TEST_CASE("Timers expire in order of their deadlines") {
    Timers heap;
    CHECK(heap.empty());
    CHECK_FALSE(heap.next());
    std::vector<NotedTimer> timers(5);
    const std::vector<long> ticks = {30, 10, 50, 20, 40};
    for (std::size_t i = 0; i < timers.size(); ++i) {
        timers[i].deadline = at(ticks[i]);
        heap.arm(timers[i]);
    }
    CHECK(heap.size() == 5);
    CHECK(heap.next() == at(10));
    CHECK(expire(heap, at(9), timers).empty());
    CHECK(expire(heap, at(10), timers) == std::vector<std::size_t>{1});
    CHECK(heap.next() == at(20));
    CHECK(expire(heap, at(49), timers) == std::vector<std::size_t>{3, 0, 4});
    CHECK(heap.size() == 1);
    CHECK(expire(heap, at(1000), timers) == std::vector<std::size_t>{2});
    CHECK(heap.empty());
    CHECK_FALSE(heap.next());
    for (const Timer& timer : timers) CHECK_FALSE(timer.is_armed());
}

TEST_CASE("Timers with equal deadlines expire in the order of arming") {
    Timers heap;
    std::vector<NotedTimer> timers(100);
    std::vector<std::size_t> expected;
    for (std::size_t i = 0; i < timers.size(); ++i) {
        timers[i].deadline = at(7);
        heap.arm(timers[i]);
        expected.push_back(i);
    }
    CHECK(expire(heap, at(7), timers) == expected);

    // Order of the last arming.
    for (auto& timer : timers) heap.arm(timer);
    heap.disarm(timers[0]);
    heap.arm(timers[0]);
    expected.erase(expected.begin());
    expected.push_back(0);
    CHECK(expire(heap, at(7), timers) == expected);
}

TEST_CASE("Timers take any deadline") {
    Timers heap;
    std::vector<NotedTimer> timers(3);
    timers[0].deadline = Clock::time_point::max();
    timers[1].deadline = Clock::time_point::min();
    timers[2].deadline = at(0);
    for (auto& timer : timers) heap.arm(timer);
    CHECK(heap.next() == Clock::time_point::min());
    CHECK(expire(heap, at(0), timers) == std::vector<std::size_t>{1, 2});
    CHECK(expire(heap, Clock::time_point::max(), timers) == std::vector<std::size_t>{0});
}

TEST_CASE("Timers can disarm a timer at any position") {
    constexpr std::size_t timer_count = 12;
    for (std::size_t expired_before = 0; expired_before < 4; ++expired_before) {
        for (std::size_t gone = expired_before; gone < timer_count; ++gone) {
            CAPTURE(expired_before);
            CAPTURE(gone);
            Timers heap;
            std::vector<NotedTimer> timers(timer_count);
            // 7 and 12 have no common divisor: every deadline occurs once, in a mixed order.
            for (std::size_t i = 0; i < timer_count; ++i) {
                timers[(i * 7) % timer_count].deadline =
                    at(static_cast<long>((i * 7) % timer_count));
                heap.arm(timers[(i * 7) % timer_count]);
            }
            // Expiry changes the shape of the heap.
            expire(heap, at(static_cast<long>(expired_before) - 1), timers);
            heap.disarm(timers[gone]);
            CHECK(heap.size() == timer_count - expired_before - 1);
            std::vector<std::size_t> expected;
            for (std::size_t i = expired_before; i < timer_count; ++i) {
                if (i != gone) expected.push_back(i);
            }
            CHECK(expire(heap, at(timer_count), timers) == expected);
            CHECK(heap.empty());
        }
    }
}

TEST_CASE("Timers ignore the disarming of a timer that is not armed") {
    Timers heap;
    std::vector<NotedTimer> timers(2);
    heap.disarm(timers[0]);
    CHECK(heap.size() == 0);
    for (auto& timer : timers) heap.arm(timer);
    heap.disarm(timers[0]);
    heap.disarm(timers[0]);
    CHECK(heap.size() == 1);
    CHECK(expire(heap, at(1), timers) == std::vector<std::size_t>{1});
    heap.disarm(timers[1]); // has expired
    CHECK(heap.size() == 0);
}

TEST_CASE("Timers need little stack for many timers in any order") {
    constexpr std::size_t timer_count = 300'000;
    for (const bool rising : {true, false}) {
        Timers heap;
        std::vector<NotedTimer> timers(timer_count);
        for (std::size_t i = 0; i < timer_count; ++i) {
            timers[i].deadline = at(static_cast<long>(rising ? i : timer_count - i));
            heap.arm(timers[i]);
        }
        const auto order = expire(heap, at(timer_count), timers);
        REQUIRE(order.size() == timer_count);
        bool in_order = true;
        for (std::size_t i = 0; i < timer_count; ++i) {
            in_order = in_order && order[i] == (rising ? i : timer_count - 1 - i);
        }
        CHECK(in_order);
    }
}

TEST_CASE("Timers agree with std::multimap after 100000 operations") {
    // A multimap keeps equal keys in the order of their insertion.
    using Model = std::multimap<Clock::time_point, NotedTimer*>;
    constexpr int operation_count = 100'000;
    constexpr std::size_t timer_count = 400;
    Timers heap;
    Model model;
    std::vector<NotedTimer> timers(timer_count);
    std::vector<Model::iterator> places(timer_count, model.end());
    std::mt19937_64 random(3200);
    long now = 0;
    for (int step = 0; step < operation_count; ++step) {
        const auto choice = random() % 100;
        const std::size_t index = random() % timer_count;
        NotedTimer& timer = timers[index];
        if (choice < 60) {
            if (places[index] == model.end()) {
                // Few different deadlines, so that many are equal.
                timer.deadline = at(now + static_cast<long>(random() % 200));
                heap.arm(timer);
                places[index] = model.emplace(timer.deadline, &timer);
            }
        } else if (choice < 90) {
            heap.disarm(timer);
            if (places[index] != model.end()) model.erase(places[index]);
            places[index] = model.end();
        } else {
            now += static_cast<long>(random() % 20);
            heap.expire(at(now));
            for (const NotedTimer* expired : take_all()) {
                REQUIRE_FALSE(model.empty());
                REQUIRE(expired == model.begin()->second);
                REQUIRE(expired->deadline <= at(now));
                model.erase(model.begin());
                places[static_cast<std::size_t>(expired - timers.data())] = model.end();
            }
            REQUIRE((model.empty() || model.begin()->first > at(now)));
        }
        REQUIRE(heap.size() == model.size());
        REQUIRE(heap.empty() == model.empty());
        const auto next = heap.next();
        REQUIRE(next.has_value() == !model.empty());
        if (next) REQUIRE(*next == model.begin()->first);
    }
    CHECK(now > 1000);
    heap.expire(Clock::time_point::max());
    std::vector<NotedTimer*> expected;
    for (const auto& [deadline, timer] : model) expected.push_back(timer);
    CHECK(take_all() == expected);
}
