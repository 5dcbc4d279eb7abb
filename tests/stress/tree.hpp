#pragma once

// Random trees of groups, deadlines, shields, primitives and sockets, cancelled at random points.

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace stress {

using namespace ringlet;
using std::chrono::microseconds;

struct Live {
    std::function<void()> cancel_group;
    std::vector<JoinHandle<Result<void>>> handles;
};

/// What the tasks of one seed share. Outlives all of them.
struct World {
    using Pair = std::pair<TcpStream, TcpStream>;

    World(std::uint64_t seed, std::function<Result<Pair>()> connect)
        : random(seed), connected_pair(std::move(connect)) {}

    std::mt19937_64 random;
    std::function<Result<Pair>()> connected_pair;
    int tasks = 0;
    std::uint64_t cancellations = 0;
    Event event{"stress event"};
    Semaphore semaphore{2, "stress semaphore"};
    Mutex mutex{"stress mutex"};
    Latch latch{3, "stress latch"};
    Channel<std::unique_ptr<int>> buffered{2, "stress channel"};
    Channel<std::unique_ptr<int>> direct{0, "stress rendezvous"};
    std::list<Live*> groups; // groups whose body is running

    std::uint64_t below(std::uint64_t limit) { return random() % limit; }
    microseconds time_up_to(std::uint64_t limit_us) {
        return microseconds(static_cast<std::int64_t>(below(limit_us + 1)));
    }
    void cancel_something() {
        if (groups.empty()) return;
        Live& live = **std::next(groups.begin(), static_cast<long>(below(groups.size())));
        ++cancellations;
        if (live.handles.empty() || below(4) == 0) return live.cancel_group();
        live.handles[below(live.handles.size())].cancel();
    }
};

/// Runs one tree. Ends by itself, after two milliseconds or less.
Task<> tree(World* world);

} // namespace stress
