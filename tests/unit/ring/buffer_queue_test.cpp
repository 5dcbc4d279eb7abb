// Which receive gets the next buffer: first without a kernel, then on a loop of each kind.

#include "ring/buffer_queue.hpp"

#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

// A limit of `count` above what is lent already.
BufferQueue queue_with_room(std::size_t count) {
    return BufferQueue(static_cast<std::size_t>(Buffer::lent_count()) + count);
}

std::vector<const Operation*> released(BufferQueue& queue, std::size_t buffers) {
    std::vector<const Operation*> started;
    queue.release(buffers, [&](const Operation& first) { started.push_back(&first); });
    return started;
}

} // namespace

TEST_CASE("BufferQueue lends up to its limit, and lends returned buffers again") {
    BufferQueue queue = queue_with_room(2);
    std::array<Operation, 3> receives;
    CHECK(queue.room() == 2);
    CHECK(queue.lend(receives[0]));
    CHECK(queue.lend(receives[1]));
    CHECK(receives[0].data != receives[1].data);
    CHECK(queue.room() == 0);
    CHECK_FALSE(queue.lend(receives[2]));
    CHECK(receives[2].data == nullptr);
    void* const lent = receives[0].data;
    CHECK(queue.lend(receives[0])); // it already has its memory
    CHECK(receives[0].data == lent);

    BufferQueue::take_back(receives[0]);
    BufferQueue::take_back(receives[0]); // it no longer has any
    CHECK(receives[0].data == nullptr);
    CHECK(queue.room() == 1);
    CHECK(queue.lend(receives[2]));
    // Other code on this thread takes more than this queue may lend: room is 0, and does not wrap around.
    const Buffer other(Buffer::borrow(), 1);
    CHECK(queue.room() == 0);
    BufferQueue::take_back(receives[1]);
    BufferQueue::take_back(receives[2]);
}

TEST_CASE("BufferQueue: a buffer returned on another thread makes room") {
    BufferQueue queue = queue_with_room(1);
    Operation receive;
    REQUIRE(queue.lend(receive));
    CHECK(queue.room() == 0);
    std::thread other([&] { BufferQueue::take_back(receive); });
    other.join();
    CHECK(queue.room() == 1);
}

TEST_CASE("BufferQueue releases receives in FIFO order, as many as there are buffers") {
    BufferQueue queue = queue_with_room(0);
    std::array<Operation, 5> receives;
    for (Operation& receive : receives) static_cast<void>(queue.enqueue(receive));
    static_cast<void>(queue.enqueue(receives[0])); // already queued, stays first
    CHECK(queue.shortages() == 5);
    CHECK(queue.queued().size() == 5);
    CHECK(released(queue, 0).empty());
    CHECK(released(queue, 2) == std::vector<const Operation*>{receives.data(), &receives[1]});
    CHECK(queue.withdraw(receives[3]));
    CHECK_FALSE(queue.withdraw(receives[3]));
    CHECK_FALSE(queue.withdraw(receives[0]));
    CHECK(released(queue, 100) == std::vector<const Operation*>{&receives[2], &receives[4]});
    CHECK(queue.empty());
    static_cast<void>(queue.enqueue(receives[0])); // another wait is another shortage
    CHECK(queue.shortages() == 6);
}

TEST_CASE("BufferQueue: a receive queued again during its release waits for the next one") {
    BufferQueue queue = queue_with_room(0);
    std::array<Operation, 2> receives;
    for (Operation& receive : receives) static_cast<void>(queue.enqueue(receive));
    int starts = 0;
    queue.release(2, [&](Operation& first) {
        ++starts;
        static_cast<void>(queue.enqueue(first));
    });
    CHECK(starts == 2);
    CHECK(queue.queued().size() == 2);
    CHECK(queue.queued().front() == receives.data());
}

TEST_CASE("BufferQueue asks for a short wait only while a receive is queued") {
    BufferQueue queue = queue_with_room(0);
    const auto later = Clock::now() + 1h;
    CHECK_FALSE(queue.next_look(std::nullopt));
    CHECK(queue.next_look(later) == later);
    Operation receive;
    static_cast<void>(queue.enqueue(receive));
    const auto before = Clock::now();
    for (const auto& deadline : {std::optional<Clock::time_point>(), std::optional(later)}) {
        const auto next = queue.next_look(deadline);
        REQUIRE(next);
        CHECK(*next >= before + 10ms);
        CHECK(*next <= Clock::now() + 10ms);
    }
    CHECK(queue.next_look(before) == before);
    CHECK(queue.withdraw(receive));
    CHECK(queue.next_look(later) == later);
}

// ---- on a loop of each kind ---------------------------------------------------------------------

namespace {

using Streams = std::pair<TcpStream, TcpStream>;

// The loop and streams of one scenario.
struct World {
    LoopOptions options;
    std::function<Streams()> pair;
    bool is_simulated = false;

    Result<EventLoop> loop(std::size_t buffer_limit = RingOptions().buffer_limit) {
        options.buffer_limit = buffer_limit;
        return EventLoop::create(options);
    }
};

Streams real_pair() {
    FdPair fds = socket_pair();
    return {TcpStream(std::move(fds.first)), TcpStream(std::move(fds.second))};
}

// Whether a waiting receive holds a buffer, which is so if io_uring cannot choose one later.
bool holds_while_it_waits(const World& world) {
    const char* without = std::getenv("RINGLET_WITHOUT");
    const std::string_view names = without != nullptr ? without : "";
    return world.options.backend == Backend::io_uring &&
           (!world.options.features.provided_buffers ||
            names.find("provided_buffers") != std::string_view::npos);
}

template <class Scenario>
void on_every_ring(Scenario scenario) {
    const auto before = Buffer::lent_count();
    const auto check = [&](World world) {
        const BackendChoice kind{.backend = world.options.backend};
        const bool provided_buffers = world.options.features.provided_buffers;
        CAPTURE(kind.to_string());
        CAPTURE(provided_buffers);
        scenario(world);
        CHECK(Buffer::lent_count() == before);
    };
    for (const bool provided_buffers : {true, false}) {
        if (probe_io_uring()) break;
        World world{.options = {}, .pair = real_pair};
        world.options.backend = Backend::io_uring;
        world.options.features.provided_buffers = provided_buffers;
        check(std::move(world));
    }
    World on_epoll{.options = {}, .pair = real_pair};
    on_epoll.options.backend = Backend::epoll;
    check(std::move(on_epoll));

    Simulation simulation(1, FaultSet::none());
    World simulated{.options = {}, .pair = [&] { return simulation.pair(); }, .is_simulated = true};
    simulated.options.backend = Backend::simulated;
    check(std::move(simulated));
    CHECK(simulation.verdict() == "");
}

Task<> turn_on() {
    auto slept = co_await sleep_for(3ms);
    CHECK(slept);
}

// A receive of one byte, whose value is its number.
struct Receive {
    Streams streams;
    std::error_code error;
    Buffer buffer;
};

std::vector<Receive> receives(World& world, std::size_t count) {
    std::vector<Receive> all(count);
    for (Receive& receive : all) receive.streams = world.pair();
    return all;
}

Task<> send_to(Receive* receive, std::size_t number) {
    const auto byte = static_cast<std::byte>(number);
    auto sent = co_await receive->streams.second.send_all(std::span(&byte, 1));
    CHECK(sent);
}

Task<> take(std::vector<Receive>* all, std::size_t number, std::vector<std::size_t>* order) {
    Receive& receive = (*all)[number];
    auto got = co_await receive.streams.first.recv();
    receive.error = got.error();
    if (!got) co_return;
    const bool is_right = got->size() == 1 && got->data()[0] == static_cast<std::byte>(number);
    CHECK(is_right);
    receive.buffer = std::move(*got);
    order->push_back(number);
}

Task<> until_size(const std::vector<std::size_t>* order, std::size_t count) {
    waiting_for("receives to get their buffers");
    while (order->size() < count) co_await turn_on();
}

std::vector<std::size_t> numbers(std::size_t count) {
    std::vector<std::size_t> all(count);
    std::iota(all.begin(), all.end(), 0);
    return all;
}

// As many pairs as the descriptor limit allows.
std::size_t burst_size() {
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const auto rest = static_cast<std::size_t>(limit.rlim_cur) - descriptor_count() - 50;
    return std::min<std::size_t>(1500, rest / 2);
}

} // namespace

TEST_CASE("a receive waits without a lent buffer") {
    on_every_ring([](World& world) {
        constexpr std::size_t count = 100;
        const auto before = Buffer::lent_count();
        auto made = world.loop();
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto all = receives(world, count);
        std::vector<std::size_t> order;
        auto result = loop.run([&]() -> Task<> {
            for (std::size_t i = 0; i < count; ++i) loop.spawn(take, &all, i, &order);
            co_await turn_on();
            CHECK(loop.stats().operations_in_flight == count);
            CHECK(Buffer::lent_count() - before == 0);
            for (std::size_t i = 0; i < count; ++i) co_await send_to(&all[i], i);
            co_await until_size(&order, count);
            CHECK(Buffer::lent_count() - before == count);
        });
        CHECK(result);
        CHECK(loop.stats().ring.buffer_shortages <= (world.is_simulated ? 0 : count));
    });
}

TEST_CASE("a receive that ends with the end of stream or an error returns its buffer") {
    on_every_ring([](World& world) {
        const auto before = Buffer::lent_count();
        auto made = world.loop();
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto result = loop.run([&]() -> Task<> {
            auto [mine, theirs] = world.pair();
            auto finished = theirs.shutdown_write();
            CHECK(finished);
            for (int i = 0; i < 3; ++i) {
                auto last = co_await mine.recv();
                CHECK(last);
                CHECK(last->empty());
                CHECK(Buffer::lent_count() == before);
            }
            auto late = co_await with_timeout(1ms, [&]() -> Task<Result<void>> {
                auto got = co_await theirs.recv();
                co_return got.error();
            });
            CHECK(late.error() == std::errc::timed_out);
            CHECK(Buffer::lent_count() == before);
        });
        CHECK(result);
    });
}

TEST_CASE("at the limit receives wait in order until a buffer is dropped") {
    on_every_ring([](World& world) {
        constexpr std::size_t count = 10;
        const auto before = Buffer::lent_count();
        auto made = world.loop(2);
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto all = receives(world, count);
        std::vector<std::size_t> order;
        auto result = loop.run([&]() -> Task<> {
            for (std::size_t i = 0; i < count; ++i) co_await send_to(&all[i], i);
            for (std::size_t i = 0; i < count; ++i) loop.spawn(take, &all, i, &order);
            co_await until_size(&order, 2);
            for (std::size_t dropped = 0; dropped < count; ++dropped) {
                co_await turn_on();
                CHECK(order.size() == std::min(dropped + 2, count));
                CHECK(Buffer::lent_count() - before == order.size() - dropped);
                all[order[dropped]].buffer = Buffer();
                co_await until_size(&order, std::min(dropped + 3, count));
            }
        });
        CHECK(result);
        std::sort(order.begin(), order.begin() + 2); // these two were ready together
        CHECK(order == numbers(count));
        CHECK(loop.stats().ring.buffer_shortages == count - 2);
        check_nothing_left(loop);
    });
}

TEST_CASE("a receive that waits for a buffer is cancelled at once, and its data stays") {
    on_every_ring([](World& world) {
        auto made = world.loop(1);
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto all = receives(world, 2);
        std::vector<std::size_t> order;
        auto result = loop.run([&]() -> Task<> {
            for (std::size_t i = 0; i < 2; ++i) co_await send_to(&all[i], i);
            co_await take(&all, 0, &order);
            auto late = co_await with_timeout(5ms, [&]() -> Task<Result<void>> {
                auto got = co_await all[1].streams.first.recv();
                co_return got.error();
            });
            CHECK(late.error() == std::errc::timed_out);
            CHECK(loop.stats().operations_in_flight == 0);
            CHECK(loop.stats().ring.buffer_shortages == 1);
            all[0].buffer = Buffer();
            co_await take(&all, 1, &order);
            CHECK_FALSE(all[1].error);

            // The same by closing the stream, while no buffer is dropped.
            co_await send_to(&all[0], 0);
            loop.spawn(take, &all, 0, &order);
            co_await turn_on();
            CHECK(loop.stats().operations_in_flight == 1);
            auto closed = co_await all[0].streams.first.close();
            CHECK(closed);
            CHECK(all[0].error == std::errc::operation_canceled);
        });
        CHECK(result);
        CHECK(order == numbers(2));
        all[1].buffer = Buffer(); // dropped after the run
    });
}

TEST_CASE("leaving the loop ends the receives that wait for a buffer; buffers outlive their loop") {
    on_every_ring([](World& world) {
        constexpr std::size_t count = 5;
        const auto before = Buffer::lent_count();
        Buffer held;
        {
            auto made = world.loop(1);
            REQUIRE_MESSAGE(made, made.error().message());
            EventLoop& loop = *made;
            auto all = receives(world, count);
            std::vector<std::size_t> order;
            auto result = loop.run([&]() -> Task<> {
                for (std::size_t i = 0; i < count; ++i) co_await send_to(&all[i], i);
                for (std::size_t i = 0; i < count; ++i) loop.spawn(take, &all, i, &order);
                co_await until_size(&order, 1);
                co_await turn_on();
            });
            CHECK(result);
            CHECK(order == numbers(1));
            for (std::size_t i = 1; i < count; ++i) {
                CHECK(all[i].error == std::errc::operation_canceled);
            }
            check_nothing_left(loop);
            held = std::move(all[0].buffer);
        }
        CHECK(Buffer::lent_count() == before + 1);
        CHECK(held.data()[0] == std::byte{0});
        held = Buffer();
    });
}

TEST_CASE("a buffer dropped on another thread resumes a receive of a sleeping loop") {
    on_every_ring([](World& world) {
        if (world.is_simulated) return; // it has no other threads
        auto made = world.loop(1);
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto all = receives(world, 2);
        std::vector<std::size_t> order;
        std::thread other;
        auto result = loop.run([&]() -> Task<> {
            for (std::size_t i = 0; i < 2; ++i) co_await send_to(&all[i], i);
            co_await take(&all, 0, &order);
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(take, &all, 1, &order);
                while (loop.stats().ring.buffer_shortages == 0) {
                    auto turned = co_await yield();
                    CHECK(turned);
                }
                other = std::thread([buffer = std::move(all[0].buffer)]() mutable {
                    std::this_thread::sleep_for(30ms); // so that the loop sleeps first
                    buffer = Buffer();
                });
                waiting_for("a buffer from another thread"); // and nothing else wakes the loop
            };
            auto done = co_await with_task_group(body);
            CHECK(done);
        });
        other.join();
        CHECK(result);
        CHECK(order == numbers(2));
        CHECK(loop.stats().ring.buffer_shortages > 0);
    });
}

TEST_CASE("a burst is served, and a later one finds enough buffers") {
    const std::size_t count = burst_size();
    on_every_ring([count](World& world) {
        auto made = world.loop();
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto all = receives(world, count);
        auto result = loop.run([&]() -> Task<> {
            std::uint64_t shortages = 0;
            for (int burst = 0; burst < 3; ++burst) {
                // By the last burst the ring provides as many as it takes. All buffers are held at once.
                const std::size_t size = burst == 0 ? count : std::min<std::size_t>(count, 500);
                std::vector<std::size_t> order;
                for (std::size_t i = 0; i < size; ++i) co_await send_to(&all[i], i);
                for (std::size_t i = 0; i < size; ++i) loop.spawn(take, &all, i, &order);
                co_await until_size(&order, size);
                if (burst == 2) CHECK(loop.stats().ring.buffer_shortages == shortages);
                shortages = loop.stats().ring.buffer_shortages;
                std::ranges::sort(order);
                CHECK(order == numbers(size));
                for (Receive& receive : all) receive.buffer = Buffer();
            }
        });
        CHECK(result);
        check_nothing_left(loop);
    });
}

TEST_CASE("a task that receives repeatedly does not overtake a receive that waits for a buffer") {
    on_every_ring([](World& world) {
        auto made = world.loop(1);
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto busy = world.pair();
        auto all = receives(world, 3);
        std::vector<std::size_t> order;
        int rounds = 0;
        auto result = loop.run([&]() -> Task<> {
            for (std::size_t i = 0; i < 3; ++i) co_await send_to(&all[i], i);
            auto send = [&]() -> Task<> {
                const std::vector<std::byte> much(4'000'000);
                static_cast<void>(co_await busy.second.send_all(much));
                static_cast<void>(busy.second.shutdown_write());
            };
            auto drop_at_once = [&](std::size_t number) -> Task<> {
                co_await take(&all, number, &order);
                all[number].buffer = Buffer();
            };
            loop.spawn(send);
            auto first = co_await busy.first.recv();
            CHECK(first);
            for (std::size_t i = 0; i < 3; ++i) loop.spawn(drop_at_once, i);
            co_await turn_on();
            CHECK(order.empty());
            first = Buffer();
            for (; order.size() < 3; ++rounds) {
                auto got = co_await busy.first.recv();
                if (!got || got->empty()) break;
            }
        });
        CHECK(result);
        CHECK(order == numbers(3));
        CHECK(rounds <= 6);
    });
}

TEST_CASE("a receive without data does not keep a free buffer from those behind it") {
    on_every_ring([](World& world) {
        if (holds_while_it_waits(world)) return;
        constexpr std::size_t idle_count = 50;
        auto made = world.loop(1);
        REQUIRE_MESSAGE(made, made.error().message());
        EventLoop& loop = *made;
        auto all = receives(world, idle_count + 2);
        std::vector<std::size_t> order;
        auto result = loop.run([&]() -> Task<> {
            co_await send_to(all.data(), 0);
            co_await take(&all, 0, &order);
            co_await send_to(&all.back(), idle_count + 1);
            for (std::size_t i = 1; i < all.size(); ++i) loop.spawn(take, &all, i, &order);
            co_await turn_on();
            CHECK(order == numbers(1));
            all[0].buffer = Buffer();
            waiting_for("the one that has something to receive");
            std::size_t turns = 0;
            for (; order.size() < 2; ++turns) co_await turn_on();
            CHECK(turns < idle_count / 2); // fewer than one per receive
            CHECK(order.back() == idle_count + 1);
        });
        CHECK(result);
        for (std::size_t i = 1; i <= idle_count; ++i) {
            CHECK(all[i].error == std::errc::operation_canceled);
        }
    });
}
