// Runs a scenario with everything that the library offers, in which each allocation fails once and each move throws
// once: nothing may be left behind, and the loop must work afterwards. This program replaces operator new.

#include "net.hpp"

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

thread_local std::uint64_t calls_left = 0; // until one fails; 0: none fails
thread_local bool has_failed = false;

bool fails_now() noexcept {
    if (calls_left == 0 || --calls_left > 0) return false;
    has_failed = true;
    return true;
}

void* allocate(std::size_t size_bytes, std::size_t alignment = 0) {
    if (fails_now()) throw std::bad_alloc();
    void* block =
        alignment == 0
            ? std::malloc(size_bytes)
            : std::aligned_alloc(alignment, (size_bytes + alignment - 1) / alignment * alignment);
    if (block == nullptr) throw std::bad_alloc();
    return block;
}

} // namespace

void* operator new(std::size_t size_bytes) { return allocate(size_bytes); }
void* operator new[](std::size_t size_bytes) { return allocate(size_bytes); }
void* operator new(std::size_t size_bytes, std::align_val_t alignment) {
    return allocate(size_bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size_bytes, const std::nothrow_t&) noexcept {
    return fails_now() ? nullptr : std::malloc(size_bytes);
}
void* operator new(std::size_t size_bytes, std::align_val_t alignment,
                   const std::nothrow_t&) noexcept {
    const auto multiple = static_cast<std::size_t>(alignment);
    return fails_now()
               ? nullptr
               : std::aligned_alloc(multiple, (size_bytes + multiple - 1) / multiple * multiple);
}
// Not inlined: g++ would warn of a mismatch between malloc and operator delete.
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
    std::free(block);
}

namespace {

thread_local std::uint64_t moves_left = 0;
thread_local bool move_has_failed = false;
int cargo_count = 0;

/// A value whose n-th move throws.
struct Cargo {
    explicit Cargo(int given) : number(given) { ++cargo_count; }
    Cargo(Cargo&& other) : number(other.number) {
        if (moves_left > 0 && --moves_left == 0) {
            move_has_failed = true;
            throw std::runtime_error("a move");
        }
        ++cargo_count;
    }
    Cargo& operator=(Cargo&&) = delete;
    ~Cargo() { --cargo_count; }
    int number;
};

struct alignas(64) Wide {
    float values[16] = {};
};

Task<> nap() {
    auto slept = co_await sleep_for(50us);
    static_cast<void>(slept);
}
Task<Result<void>> failing_task() { co_return std::errc::broken_pipe; }
Task<int> throwing_task() {
    throw std::runtime_error("a task with a rather long message, for which memory is needed");
    co_return 1;
}

Task<> with_groups() {
    std::vector<TaskFailure> failures;
    const GroupOptions listed{.name = "listed", .failures = &failures};
    auto body = [](TaskGroup& group) -> Task<> {
        auto handle = group.spawn("a task with a name", nap);
        group.spawn(
            [](const Wide& wide) -> Task<> {
                CHECK(wide.values[3] == 0);
                co_return;
            },
            Wide());
        auto joined = co_await handle.join();
        static_cast<void>(joined);
        group.spawn(failing_task);
        auto ready = [](Ready<Wide> say) -> Task<> {
            say(Wide());
            co_return;
        };
        auto started = co_await group.start<Wide>(ready);
        static_cast<void>(started);
    };
    auto done = co_await with_task_group(body, listed);
    static_cast<void>(done);
    auto bounded = [](BoundedTaskGroup& group) -> Task<> {
        for (int i = 0; i < 3; ++i) {
            auto spawned = co_await group.spawn([](Cargo) -> Task<> { co_return; }, Cargo(i));
            static_cast<void>(spawned);
        }
    };
    auto bounded_done = co_await with_bounded_task_group(1, bounded);
    static_cast<void>(bounded_done);
}

Task<> with_channels(EventLoop* loop) {
    Channel<Cargo> buffered(2, "buffered"), direct(0, "direct");
    ThreadChannel<Cargo> letters(*loop, 4, "letters");
    auto body = [&](TaskGroup& group) -> Task<> {
        auto send = [](Channel<Cargo>* channel) -> Task<> {
            struct Closes {
                Channel<Cargo>* channel;
                ~Closes() { channel->close(); }
            } at_end{channel};
            for (int i = 0; i < 4; ++i) {
                auto sent = co_await channel->send(Cargo(i));
                if (!sent) co_return;
            }
        };
        auto receive = [](Channel<Cargo>* channel) -> Task<> {
            for (;;) {
                auto received = co_await channel->recv();
                if (!received) co_return;
            }
        };
        for (auto* channel : {&buffered, &direct}) {
            group.spawn("sender", send, channel);
            group.spawn("receiver", receive, channel);
        }
        for (int i = 0; i < 3; ++i) static_cast<void>(letters.sender().try_send(Cargo(i)));
        for (int i = 0; i < 3; ++i) {
            auto letter = co_await with_timeout(100ms, [&]() -> Task<Result<int>> {
                auto received = co_await letters.recv();
                if (!received) co_return received.error();
                co_return received->number;
            });
            if (!letter) co_return;
        }
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
}

Task<> with_the_rest(EventLoop* loop) {
    auto [first, second] = co_await when_all(nap(), sleep_for(10us));
    static_cast<void>(first);
    static_cast<void>(second);
    auto any = co_await when_any(nap(), sleep_for(1h));
    static_cast<void>(any);
    auto job = [](std::string text) { return text + " and more, so that it must be allocated"; };
    auto text =
        co_await run_blocking(job, std::string("a text that is long enough to need memory"));
    static_cast<void>(text);
    static bool delivered;
    delivered = false;
    loop->post([] { delivered = true; }); // static: it may run after this task is gone
    auto shielded = co_await shield(nap);
    static_cast<void>(shielded);
    static_cast<void>(loop->dump());
    loop->spawn(throwing_task);
    loop->spawn(failing_task);
    static TaskLocal<std::string> local("default");
    local.set("a text that is long enough to need memory");
    auto pair = socket_pair();
    TcpStream left(std::move(pair.first)), right(std::move(pair.second));
    auto sent = co_await left.send_all(std::as_bytes(std::span("hello")));
    static_cast<void>(sent);
    auto chunk = co_await right.recv();
    static_cast<void>(chunk);
    auto closed = co_await left.close();
    static_cast<void>(closed);
    for (int turn = 0; turn < 3; ++turn) static_cast<void>(co_await yield());
    CHECK(delivered);
}

enum class Part { groups, channels, rest };

Task<> scenario(EventLoop* loop, Part part) {
    if (part == Part::groups) {
        co_await with_groups();
    } else if (part == Part::channels) {
        co_await with_channels(loop);
    } else {
        co_await with_the_rest(loop);
    }
}

bool blocks_signals() {
    sigset_t mask;
    sigemptyset(&mask);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, SIGTERM) == 1;
}

// Makes the n-th call fail, for n = 1, 2, ... until no call fails.
void fail_each(Backend backend, std::uint64_t& left, bool& failed) {
    LoopOptions options{.backend = backend};
    options.report = [](std::string_view) {};
    if (!EventLoop::create(options)) RINGLET_SKIP("this kernel is not available");
    for (const Part part : {Part::groups, Part::channels, Part::rest}) {
        for (std::uint64_t n = 1;; ++n) {
            CAPTURE(static_cast<int>(part));
            CAPTURE(n);
            REQUIRE(n < 3000);
            waiting_for("a scenario in which one allocation, or one move, fails");
            FramePool::Audit audit;
            {
                auto loop = EventLoop::create(options);
                REQUIRE(loop);
                FramePool::local().audit(&audit);
                failed = false;
                left = n;
                try {
                    auto ran = loop->run(scenario, &*loop, part);
                    static_cast<void>(ran);
                } catch (const std::bad_alloc&) {
                } catch (const std::runtime_error&) {
                }
                left = 0;
                FramePool::local().audit(nullptr);
                check_nothing_left(*loop);
                REQUIRE_FALSE(blocks_signals());
                auto again = loop->run([]() -> Task<int> {
                    auto slept = co_await sleep_for(1us);
                    co_return slept ? 1 : 0;
                });
                REQUIRE(again.value() == 1);
            }
            REQUIRE(audit.live_count == 0);
            REQUIRE(cargo_count == 0);
            if (!failed) break;
        }
    }
}

} // namespace

TEST_CASE("whichever allocation fails, nothing is left and the loop still works: io_uring") {
    fail_each(Backend::io_uring, calls_left, has_failed);
}
TEST_CASE("whichever allocation fails, nothing is left and the loop still works: epoll") {
    fail_each(Backend::epoll, calls_left, has_failed);
}
TEST_CASE("whichever move throws, nothing is left and the loop still works: io_uring") {
    fail_each(Backend::io_uring, moves_left, move_has_failed);
}
TEST_CASE("whichever move throws, nothing is left and the loop still works: epoll") {
    fail_each(Backend::epoll, moves_left, move_has_failed);
}
