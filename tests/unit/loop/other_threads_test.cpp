#include <ringlet/event_loop.hpp>

#include "net.hpp"
#include "notification.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("posts from many threads are all delivered, those of one thread in order") {
    constexpr int thread_count = 4;
    constexpr int post_count = 5000;
    ReportingLoop loop;
    std::array<int, thread_count> next{};
    int delivered = 0;
    bool in_order = true;
    bool on_loop_thread = true;
    const auto loop_thread = std::this_thread::get_id();
    Notification all_delivered;
    std::vector<std::thread> threads;

    waiting_for("every post to be delivered: one lost wake is enough to hang");
    auto result = loop->run([&]() -> Task<> {
        for (int index = 0; index < thread_count; ++index) {
            threads.emplace_back([&, index] {
                for (int number = 0; number < post_count; ++number) {
                    loop->post([&, index, number] {
                        in_order = in_order && next[static_cast<std::size_t>(index)]++ == number;
                        on_loop_thread =
                            on_loop_thread && std::this_thread::get_id() == loop_thread;
                        if (++delivered == thread_count * post_count) all_delivered.notify(*loop);
                    });
                }
            });
        }
        co_await all_delivered.wait();
    });
    for (std::thread& thread : threads) thread.join();
    CHECK(result);
    CHECK(delivered == thread_count * post_count);
    CHECK(in_order);
    CHECK(on_loop_thread);
}

TEST_CASE("a post wakes a loop that sleeps in the kernel") {
    constexpr int round_count = 300;
    ReportingLoop loop;
    Notification arrived;
    std::thread other;
    std::atomic<int> asked{0};
    int answered = 0;
    waiting_for("a thread that posts once for every time that it is asked");
    auto result = loop->run([&]() -> Task<> {
        other = std::thread([&] {
            for (int round = 0; round < round_count; ++round) {
                asked.wait(round);
                loop->post([&] { arrived.notify(*loop); });
            }
        });
        for (; answered < round_count; ++answered) {
            asked = answered + 1;
            asked.notify_one();
            co_await arrived.wait();
        }
    });
    other.join();
    CHECK(result);
    CHECK(answered == round_count);
}

TEST_CASE("a post may spawn, and is kept until the loop runs") {
    ReportingLoop loop;
    bool ran = false;
    Notification done;
    loop->post([&, owned = std::make_unique<int>(1)] {
        loop->spawn([&]() -> Task<> {
            ran = true;
            done.notify(*loop);
            co_return;
        });
    });
    CHECK_FALSE(ran);
    auto result = loop->run([&]() -> Task<> { co_await done.wait(); });
    CHECK(result);
    CHECK(ran);
}

TEST_CASE("a post to a loop that never runs is destroyed with it, not called") {
    int alive = 0;
    bool called = false;
    {
        ReportingLoop loop;
        loop->post([&called, token = Counted(alive)] { called = true; });
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
    CHECK_FALSE(called);
}

TEST_CASE("stop from another thread ends run") {
    ReportingLoop loop;
    std::error_code seen;
    std::thread other;
    waiting_for("run to return after stop from another thread");
    auto result = loop->run([&]() -> Task<Result<void>> {
        other = std::thread([&] { loop->stop(); });
        auto slept = co_await sleep_for(1h);
        seen = slept.error();
        co_return slept;
    });
    other.join();
    CHECK(seen == std::errc::operation_canceled);
    CHECK(result.error() == std::errc::operation_canceled);
    check_nothing_left(*loop);
}

TEST_CASE("stop before run makes only the next run return at once") {
    ReportingLoop loop;
    loop->stop();
    waiting_for("run to return after a stop that came before it");
    auto sleeper = [](Clock::duration duration) -> Task<Result<void>> {
        auto slept = co_await sleep_for(duration);
        co_return slept;
    };
    auto stopped = loop->run(sleeper, Clock::duration(1h));
    CHECK(stopped.error() == std::errc::operation_canceled);
    check_nothing_left(*loop);

    auto second = loop->run(sleeper, Clock::duration(1ms));
    CHECK(second);
}

namespace {

EventLoop* stopped_by_signal = nullptr;

} // namespace

TEST_CASE("stop may be called in a signal handler") {
    // TSan runs a handler at the next call that it intercepts, and io_uring_enter is not one of them:
    // a signal that comes while the loop sleeps would be handled only after some other wake.
    if (thread_sanitizer_runs) RINGLET_SKIP("TSan holds signals back while the loop sleeps");
    ReportingLoop loop;
    stopped_by_signal = &*loop;
    struct sigaction action{};
    action.sa_handler = [](int) { stopped_by_signal->stop(); };
    struct sigaction before{};
    REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
    const pthread_t loop_thread = ::pthread_self();
    std::thread other;
    waiting_for("run to return after stop in a signal handler");
    auto result = loop->run([&]() -> Task<Result<void>> {
        other = std::thread([&] { ::pthread_kill(loop_thread, SIGUSR1); });
        auto slept = co_await sleep_for(1h);
        co_return slept;
    });
    other.join();
    ::sigaction(SIGUSR1, &before, nullptr);
    CHECK(result.error() == std::errc::operation_canceled);
}

TEST_CASE("signals that the program handles do not disturb the loop") {
    ReportingLoop loop;
    struct sigaction action{};
    action.sa_handler = [](int) {};
    struct sigaction before{};
    REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
    const pthread_t loop_thread = ::pthread_self();
    std::atomic<bool> enough{false};
    auto pair = tcp_pair();
    const auto sent = pattern(2'000'000);
    std::size_t right = 0;
    std::thread pests([&] {
        while (!enough) {
            ::pthread_kill(loop_thread, SIGUSR1);
            std::this_thread::yield();
        }
    });
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                auto done = co_await stream.send_all(sent);
                CHECK(done);
            },
            TcpStream(std::move(pair.first)));
        TcpStream stream(std::move(pair.second));
        std::vector<std::byte> memory(sent.size());
        auto received = co_await stream.recv_exactly(memory);
        CHECK(received);
        right = memory == sent ? memory.size() : 0;
    });
    enough = true;
    pests.join();
    ::sigaction(SIGUSR1, &before, nullptr);
    CHECK(result);
    CHECK(right == sent.size());
}
