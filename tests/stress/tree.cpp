#include "tree.hpp"

#include <array>
#include <iterator>
#include <stdexcept>
#include <string>
#include <tuple>

namespace stress {

namespace {

constexpr int deepest = 4;
constexpr int tasks_per_seed = 40;

/// Registers a group with the killer while its body runs.
struct Known {
    Known(World& in, std::function<void()> cancel) : world(&in) {
        live.cancel_group = std::move(cancel);
        place = world->groups.insert(world->groups.end(), &live);
    }
    Known(const Known&) = delete;
    Known& operator=(const Known&) = delete;
    ~Known() { world->groups.erase(place); }

    Live live;
    World* world;
    std::list<Live*>::iterator place;
};

Task<Result<void>> node(World* world, int depth);

bool is_last(World& world, int depth) { return depth >= deepest || world.tasks >= tasks_per_seed; }

Task<Result<void>> nap(World* world) {
    auto slept = co_await sleep_for(world->time_up_to(500));
    co_return slept;
}

Task<Result<void>> hold_mutex(World* world) {
    auto guard = co_await world->mutex.lock();
    if (!guard) co_return guard.error();
    auto slept = co_await sleep_for(world->time_up_to(100));
    co_return slept;
}

Task<Result<void>> hold_permit(World* world) {
    auto taken = co_await world->semaphore.acquire();
    if (!taken) co_return taken;
    auto slept = co_await sleep_for(world->time_up_to(100));
    world->semaphore.release();
    co_return slept;
}

Task<Result<void>> count_latch(World* world) {
    if (!world->latch.try_wait()) world->latch.count_down();
    auto opened = co_await world->latch.wait();
    co_return opened;
}

Task<Result<void>> wait_event(World* world) {
    if (world->below(2) == 0) {
        world->event.set();
        if (world->below(2) == 0) world->event.clear();
        co_return Result<void>();
    }
    auto told = co_await world->event.wait();
    co_return told;
}

Task<Result<void>> use_channel(World* world) {
    auto& channel = world->below(2) == 0 ? world->buffered : world->direct;
    if (world->below(40) == 0) channel.close();
    if (world->below(2) == 0) {
        auto value = std::make_unique<int>(7);
        auto sent = co_await channel.send(std::move(value));
        if (sent.error() == std::errc::operation_canceled) co_return sent;
        co_return Result<void>();
    }
    auto value = co_await channel.recv();
    if (value.error() == std::errc::operation_canceled) co_return value.error();
    co_return Result<void>();
}

Task<Result<void>> send_side(World* world, TcpStream stream) {
    const std::vector<std::byte> bytes(1 + world->below(300'000)); // may not fit in the socket
    auto sent = co_await stream.send_all(bytes);
    if (sent.error() == std::errc::operation_canceled) co_return sent.error();
    if (world->below(2) == 0) co_return Result<void>(); // dropped
    auto closed = co_await stream.close();
    co_return closed;
}

Task<Result<void>> receive_side(World* world, TcpStream stream) {
    std::array<std::byte, 512> memory{};
    for (std::uint64_t left = 1 + world->below(4); left > 0; --left) {
        std::error_code failed;
        const std::uint64_t how = world->below(3);
        if (how == 0) {
            auto got = co_await stream.recv();
            failed = got.error();
        } else if (how == 1) {
            auto got = co_await stream.recv(memory);
            failed = got.error();
        } else {
            auto got = co_await stream.recv_exactly(memory);
            failed = got.error();
        }
        if (failed == std::errc::operation_canceled) co_return failed;
        if (failed) break; // the peer has finished, or was cancelled
    }
    if (world->below(2) == 0) co_return Result<void>();
    auto closed = co_await stream.close();
    co_return closed;
}

Task<Result<void>> use_sockets(World* world) {
    auto pair = world->connected_pair();
    if (!pair) co_return pair.error();
    auto [sending, receiving] = std::move(*pair);
    auto body = [&](TaskGroup& group) -> Task<> {
        world->tasks += 2;
        const Known known(*world, [&group] { group.cancel(); });
        group.spawn(send_side, world, std::move(sending));
        group.spawn(receive_side, world, std::move(receiving));
        auto idle = co_await group.wait_until_idle();
        static_cast<void>(idle);
    };
    auto done = co_await with_task_group(body);
    co_return done;
}

Task<Result<void>> plain_group(World* world, int depth) {
    auto body = [&](TaskGroup& group) -> Task<> {
        Known known(*world, [&group] { group.cancel(); });
        for (std::uint64_t left = 1 + world->below(4); left > 0; --left) {
            known.live.handles.push_back(group.spawn(node, world, depth + 1));
        }
        if (world->below(3) == 0) {
            auto slept = co_await sleep_for(world->time_up_to(300));
            static_cast<void>(slept);
            world->cancel_something();
        }
        if (world->below(2) == 0) {
            auto idle = co_await group.wait_until_idle();
            static_cast<void>(idle);
        } else {
            auto joined = co_await known.live.handles.front().join();
            static_cast<void>(joined);
        }
    };
    auto done = co_await with_task_group(body);
    co_return done;
}

Task<Result<void>> bounded_group(World* world, int depth) {
    auto body = [&](BoundedTaskGroup& group) -> Task<> {
        Known known(*world, [&group] { group.cancel(); });
        for (std::uint64_t left = 1 + world->below(4); left > 0; --left) {
            auto handle = co_await group.spawn(node, world, depth + 1);
            if (!handle) co_return;
            known.live.handles.push_back(std::move(*handle));
        }
        auto idle = co_await group.wait_until_idle();
        static_cast<void>(idle);
    };
    auto done = co_await with_bounded_task_group(1 + world->below(2), body);
    co_return done;
}

Task<Result<void>> any_of(World* world, int depth) {
    auto ended = co_await when_any(node(world, depth + 1), sleep_for(world->time_up_to(500)),
                                   world->event.wait());
    co_return std::get<0>(ended.results).error() == std::errc::no_link
        ? Result<void>(std::errc::no_link)
        : Result<void>();
}

Task<Result<void>> all_of(World* world, int depth) {
    auto ended = co_await when_all(node(world, depth + 1), use_channel(world),
                                   sleep_for(world->time_up_to(200)));
    co_return std::get<0>(ended);
}

Task<Result<void>> inner_step(World* world, int depth) {
    switch (world->below(5)) {
    case 0: return plain_group(world, depth);
    case 1: return bounded_group(world, depth);
    case 2: return any_of(world, depth);
    case 3: return all_of(world, depth);
    default: return node(world, depth + 1);
    }
}

Task<Result<void>> leaf_step(World* world) {
    switch (world->below(7)) {
    case 0: return hold_mutex(world);
    case 1: return hold_permit(world);
    case 2: return count_latch(world);
    case 3: return wait_event(world);
    case 4: return use_channel(world);
    case 5: return use_sockets(world);
    default: return nap(world);
    }
}

Task<Result<void>> node(World* world, int depth) {
    ++world->tasks;
    for (std::uint64_t left = 1 + world->below(3); left > 0; --left) {
        const bool inside = !is_last(*world, depth) && world->below(5) < 3;
        Result<void> done;
        switch (world->below(8)) {
        case 0: done = co_await shield(nap, world); break;
        case 1: done = co_await yield(); break;
        case 2:
        case 3:
            if (inside) {
                done = co_await with_timeout(world->time_up_to(2000), inner_step, world, depth);
            } else {
                done = co_await with_timeout(world->time_up_to(2000), leaf_step, world);
            }
            break;
        default:
            if (inside) {
                done = co_await inner_step(world, depth);
            } else {
                done = co_await leaf_step(world);
            }
        }
        if (done.error() == std::errc::operation_canceled) co_return done;
    }
    if (world->below(30) == 0) co_return std::errc::no_link;
    if (world->below(30) == 0) throw std::runtime_error("thrown on purpose");
    co_return Result<void>();
}

Task<Result<void>> killer(World* world) {
    for (std::uint64_t left = 1 + world->below(5); left > 0; --left) {
        auto slept = co_await sleep_for(world->time_up_to(400));
        if (!slept) co_return slept;
        world->cancel_something();
    }
    co_return Result<void>();
}

} // namespace

Task<> tree(World* world) {
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn("killer", killer, world);
        for (std::uint64_t left = 1 + world->below(3); left > 0; --left) {
            group.spawn(node, world, 0);
        }
        auto slept = co_await sleep_for(microseconds(500) + world->time_up_to(1500));
        static_cast<void>(slept);
        ++world->cancellations;
        group.cancel(); // ends tasks whose event never comes
    };
    try {
        auto done = co_await with_task_group(body);
        static_cast<void>(done);
    } catch (const std::runtime_error&) {
        co_return;
    }
}

} // namespace stress
