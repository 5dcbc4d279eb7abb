#include <ringlet/event_loop.hpp>

#include "net.hpp"
#include "notification.hpp"

#include <ringlet/testing/simulation.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

// ---- what run returns ---------------------------------------------------------------------------

TEST_CASE("run returns what the task returns") {
    auto number = run_on_loop([]() -> Task<int> { co_return 7; });
    static_assert(std::is_same_v<decltype(number), Result<int>>);
    REQUIRE(number);
    CHECK(*number == 7);

    auto nothing = run_on_loop([]() -> Task<> { co_return; });
    static_assert(std::is_same_v<decltype(nothing), Result<void>>);
    CHECK(nothing);

    auto moved =
        run_on_loop([]() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); });
    REQUIRE(moved);
    CHECK(**moved == 3);
}

TEST_CASE("run makes one Result of a task that returns a Result") {
    auto good = run_on_loop([]() -> Task<Result<std::string>> { co_return std::string("yes"); });
    static_assert(std::is_same_v<decltype(good), Result<std::string>>);
    REQUIRE(good);
    CHECK(*good == "yes");

    auto bad = run_on_loop([]() -> Task<Result<std::string>> { co_return std::errc::no_link; });
    CHECK(bad.error() == std::errc::no_link);
}

TEST_CASE("run throws what the task throws, and the loop can go on") {
    ReportingLoop loop;
    auto fails = []() -> Task<int> {
        auto turned = co_await yield();
        CHECK(turned);
        throw std::out_of_range("far away");
    };
    CHECK_THROWS_WITH_AS(static_cast<void>(loop->run(fails)), "far away", std::out_of_range);
    check_nothing_left(*loop);
    CHECK(loop.reports.empty());

    auto again = loop->run([]() -> Task<int> { co_return 1; });
    CHECK(again);
}

TEST_CASE("a loop runs any number of times") {
    ReportingLoop loop;
    for (int round = 0; round < 50; ++round) {
        auto pair = socket_pair();
        REQUIRE(write_all(pair.second.get(), "x"));
        auto received = loop->run(
            [&](UniqueFd fd) -> Task<Result<std::size_t>> {
                TcpStream stream(std::move(fd));
                loop->spawn([]() -> Task<> { static_cast<void>(co_await sleep_for(1h)); });
                auto buffer = co_await stream.recv();
                if (!buffer) co_return buffer.error();
                co_return buffer->size();
            },
            std::move(pair.first));
        REQUIRE(received);
        CHECK(*received == 1);
        check_nothing_left(*loop);
    }
}

TEST_CASE("run inside of run on the same loop aborts") {
    const Ending ending = end_of_child([] {
        auto loop = EventLoop::create();
        auto inner = [&]() -> Task<> { co_return; };
        auto outer = [&]() -> Task<> {
            static_cast<void>(loop->run(inner));
            co_return;
        };
        static_cast<void>(loop->run(outer));
        return 0;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("run was called inside of run on the same loop"));
}

TEST_CASE("run on another thread than the loop's own aborts") {
    const Ending ending = end_of_child([] {
        auto loop = EventLoop::create();
        std::thread other([&] { static_cast<void>(loop->run([]() -> Task<> { co_return; })); });
        other.join();
        return 0;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("only post and stop may be called from others"));
}

// ---- spawning -----------------------------------------------------------------------------------

TEST_CASE("spawned tasks run, and so do those that they spawn") {
    ReportingLoop loop;
    std::vector<int> order;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            order.push_back(1);
            loop->spawn([&]() -> Task<> {
                order.push_back(2);
                loop->spawn([&]() -> Task<> {
                    order.push_back(3);
                    co_return;
                });
                co_return;
            });
            co_return;
        });
        CHECK(order.empty()); // at the next turn, not here
        for (int turn = 0; turn < 10 && order.size() < 3; ++turn) {
            auto turned = co_await yield();
            CHECK(turned);
        }
    });
    CHECK(result);
    CHECK(order == std::vector<int>{1, 2, 3});
    check_nothing_left(*loop);
}

TEST_CASE("tasks that were spawned before run start with it") {
    ReportingLoop loop;
    int ran = 0;
    loop->spawn([&]() -> Task<> {
        ++ran;
        co_return;
    });
    CHECK(ran == 0);
    CHECK(loop->stats().live_tasks == 1);
    auto result = loop->run([]() -> Task<> { co_return; });
    CHECK(result);
    CHECK(ran == 1);
    check_nothing_left(*loop);
}

TEST_CASE("a loop that never runs begins neither the tasks nor the letters that it was given, and "
          "drops them") {
    int alive = 0;
    bool began = false;
    {
        ReportingLoop loop;
        loop->spawn(
            [&](Counted) -> Task<> {
                began = true;
                co_return;
            },
            Counted(alive));
        loop->post([&, held = std::make_shared<Counted>(alive)] { began = true; });
        CHECK(alive > 0);
    }
    CHECK(alive == 0);
    CHECK_FALSE(began);
}

TEST_CASE("the callable and its arguments live until the task has finished, and no longer") {
    ReportingLoop loop;
    int captured = 0;
    int given = 0;
    bool was_alive = false;
    auto look = [&](const std::string& name, const Counted&, std::unique_ptr<int> owned) -> Task<> {
        for (int turn = 0; turn < 3; ++turn) static_cast<void>(co_await yield());
        was_alive = name == std::string(100, 'n') && *owned == 5 && captured == 1 && given == 1;
    };
    auto result = loop->run([&]() -> Task<> {
        {
            // Everything that is named here has gone before the task looks at it.
            Counted capture(captured);
            loop->spawn(
                [look, capture](const std::string& name, const Counted& argument,
                                std::unique_ptr<int> owned) {
                    return look(name, argument, std::move(owned));
                },
                std::string(100, 'n'), Counted(given), std::make_unique<int>(5));
        }
        CHECK(captured == 1);
        CHECK(given == 1);
        for (int turn = 0; turn < 10; ++turn) static_cast<void>(co_await yield());
        CHECK(captured == 0);
        CHECK(given == 0);
    });
    CHECK(result);
    CHECK(was_alive);
}

TEST_CASE("a capturing lambda's coroutine may use its captures after it has suspended") {
    ReportingLoop loop;
    std::string seen;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&seen, text = std::string(200, 'c')]() -> Task<> {
            static_cast<void>(co_await yield());
            seen = text;
        });
        for (int turn = 0; turn < 5; ++turn) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(seen == std::string(200, 'c'));
}

TEST_CASE("arguments of run live until the task has finished") {
    int alive = 0;
    auto result = run_on_loop(
        [&](const std::string& name, const Counted&) -> Task<bool> {
            static_cast<void>(co_await yield());
            co_return name == std::string(100, 'n') && alive > 0;
        },
        std::string(100, 'n'), Counted(alive));
    REQUIRE(result);
    CHECK(*result);
    CHECK(alive == 0);
}

TEST_CASE("what leaves a spawned task goes to the report hook") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([]() -> Task<> {
            throw std::runtime_error("burst");
            co_return;
        });
        loop->spawn([]() -> Task<> {
            throw 17;
            co_return;
        });
        loop->spawn([]() -> Task<Result<int>> { co_return std::errc::no_space_on_device; });
        loop->spawn([]() -> Task<Result<int>> { co_return 4; });
        loop->spawn([]() -> Task<int> { co_return 4; });
        for (int turn = 0; turn < 5; ++turn) static_cast<void>(co_await yield());
    });
    CHECK(result);
    std::string all;
    for (const std::string& line : loop.reports) all += line + "\n";
    CHECK_MESSAGE(loop.reports.size() == 3, all);
    CHECK(all.find("burst") != std::string::npos);
    CHECK(all.find("not a std::exception") != std::string::npos);
    CHECK(all.find(std::make_error_code(std::errc::no_space_on_device).message()) !=
          std::string::npos);
    check_nothing_left(*loop);
}

TEST_CASE("without a hook the report goes to stderr") {
    const Ending ending = end_of_child([] {
        auto loop = EventLoop::create();
        loop->spawn([]() -> Task<> {
            throw std::runtime_error("burst");
            co_return;
        });
        auto result = loop->run([]() -> Task<> { co_return; });
        return result ? 0 : 1;
    });
    CHECK(ending.status == 0);
    CHECK(ending.errors.starts_with("ringlet: task \"lambda in "));
    CHECK(ending.errors.ends_with(" ended with an exception: burst\n"));
}

TEST_CASE("a loop whose descriptors somebody has closed says so, and does not turn without end") {
    const Ending ending = end_of_child([] {
        auto loop = EventLoop::create();
        for (int fd = 3; fd < 64; ++fd) {
            const std::string name = "/proc/self/fd/" + std::to_string(fd);
            std::error_code gone;
            const auto what = std::filesystem::read_symlink(name, gone);
            if (what == "anon_inode:[eventfd]") ::close(fd);
        }
        auto result = loop->run([]() -> Task<> {
            auto slept = co_await sleep_for(10s);
            static_cast<void>(slept);
        });
        return result ? 0 : 1;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("the descriptor that wakes this loop was closed"));
}

// ---- leaving ------------------------------------------------------------------------------------

namespace {

struct Endings {
    std::vector<std::error_code> errors;
    int alive = 0;
};

Task<> note_recv(Endings& endings, TcpStream stream) {
    const Counted local(endings.alive);
    auto received = co_await stream.recv();
    endings.errors.push_back(received.error());
}

Task<> note_recv_into(Endings& endings, TcpStream stream) {
    const Counted local(endings.alive);
    std::array<std::byte, 64> memory{};
    auto received = co_await stream.recv_exactly(memory);
    endings.errors.push_back(received.error());
}

Task<> note_send(Endings& endings, TcpStream stream) {
    const Counted local(endings.alive);
    const std::vector<std::byte> much(std::size_t{64} << 20);
    auto sent = co_await stream.send_all(much);
    endings.errors.push_back(sent.error());
}

Task<> note_accept(Endings& endings, TcpListener listener) {
    const Counted local(endings.alive);
    auto accepted = co_await listener.accept();
    endings.errors.push_back(accepted.error());
}

Task<> note_connect(Endings& endings, Endpoint peer) {
    const Counted local(endings.alive);
    auto connected = co_await TcpStream::connect(peer);
    endings.errors.push_back(connected.error());
}

Task<> note_sleep(Endings& endings) {
    const Counted local(endings.alive);
    auto slept = co_await sleep_for(1h);
    endings.errors.push_back(slept.error());
}

} // namespace

TEST_CASE("when the root returns, whatever waits gets operation_canceled and goes") {
    const std::size_t open_before = descriptor_count();
    {
        ReportingLoop loop;
        Endings endings;
        auto receiving = tcp_pair();
        auto receiving_exactly = socket_pair();
        auto sending = tcp_pair();
        // A listener whose queue is full: further clients wait for an answer.
        const UniqueFd full = bound_socket(loopback(), 0);
        const UniqueFd first = connect_to(address_of(full.get()));
        REQUIRE(first);

        auto result = loop->run([&]() -> Task<> {
            loop->spawn(note_recv, std::ref(endings), TcpStream(std::move(receiving.first)));
            loop->spawn(note_recv_into, std::ref(endings),
                        TcpStream(std::move(receiving_exactly.first)));
            loop->spawn(note_send, std::ref(endings), TcpStream(std::move(sending.first)));
            auto listener = TcpListener::bind(loopback());
            CHECK(listener);
            loop->spawn(note_accept, std::ref(endings), std::move(*listener));
            loop->spawn(note_connect, std::ref(endings), address_of(full.get()));
            loop->spawn(note_sleep, std::ref(endings));
            while (endings.alive < 6) static_cast<void>(co_await yield());
            const LoopStats stats = loop->stats();
            CHECK(stats.operations_in_flight == 5);
            CHECK(stats.armed_timers == 1);
            CHECK(stats.live_tasks == 7);
        });
        CHECK(result);
        CHECK(endings.alive == 0);
        CHECK(endings.errors.size() == 6);
        for (const std::error_code error : endings.errors) {
            CHECK(error == std::errc::operation_canceled);
        }
        check_nothing_left(*loop);
        CHECK(loop.reports.empty());
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("after its cancellation every later await of a task is refused at once") {
    ReportingLoop loop;
    std::vector<std::error_code> errors;
    auto pair = socket_pair();
    std::uint64_t submissions_before = 0;
    std::uint64_t submissions_after = 0;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                auto slept = co_await sleep_for(1h);
                errors.push_back(slept.error());
                submissions_before = loop->stats().ring.submissions;
                auto received = co_await stream.recv();
                errors.push_back(received.error());
                std::array<std::byte, 8> memory{};
                auto exact = co_await stream.recv_exactly(memory);
                errors.push_back(exact.error());
                auto sent = co_await stream.send_all(memory);
                errors.push_back(sent.error());
                auto again = co_await sleep_for(0s);
                errors.push_back(again.error());
                auto turned = co_await yield();
                errors.push_back(turned.error());
                auto connected = co_await TcpStream::connect(loopback("127.0.0.1:1"));
                errors.push_back(connected.error());
                submissions_after = loop->stats().ring.submissions;
            },
            TcpStream(std::move(pair.first)));
        while (loop->stats().armed_timers == 0) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(errors.size() == 7);
    for (const std::error_code error : errors) CHECK(error == std::errc::operation_canceled);
    CHECK(submissions_before == submissions_after);
    check_nothing_left(*loop);
}

TEST_CASE("a task that is spawned while the loop is left does not start, and its arguments go") {
    ReportingLoop loop;
    int alive = 0;
    bool started = false;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            static_cast<void>(co_await sleep_for(1h));
            loop->spawn(
                [&](Counted) -> Task<> {
                    started = true;
                    co_return;
                },
                Counted(alive));
        });
        while (loop->stats().armed_timers == 0) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK_FALSE(started);
    CHECK(alive == 0);
    check_nothing_left(*loop);
}

TEST_CASE("a task that ignores its cancellation does not hold the loop") {
    ReportingLoop loop;
    int alive = 0;
    auto pair = socket_pair();
    auto ignore_in_yield = [&]() -> Task<> {
        const Counted local(alive);
        for (;;) static_cast<void>(co_await yield());
    };
    auto ignore_in_sleep = [&]() -> Task<> {
        const Counted local(alive);
        for (;;) static_cast<void>(co_await sleep_for(1ms));
    };
    auto ignore_in_recv = [&](TcpStream stream) -> Task<> {
        const Counted local(alive);
        for (;;) static_cast<void>(co_await stream.recv());
    };
    auto child = [&]() -> Task<> {
        const Counted local(alive);
        static_cast<void>(co_await sleep_for(1ms));
    };
    auto ignore_in_child = [&]() -> Task<> {
        const Counted local(alive);
        for (;;) co_await child();
    };
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(ignore_in_yield);
        loop->spawn(ignore_in_sleep);
        loop->spawn(ignore_in_recv, TcpStream(std::move(pair.first)));
        loop->spawn(ignore_in_child);
        while (alive < 5) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(alive == 0);
    CHECK(loop.reports.size() == 4); // once each
    for (const std::string& line : loop.reports) {
        CHECK(line.find("was cancelled, was told so 1000 times") != std::string::npos);
    }
    CHECK(end_of(pair.second.get()) == 0);
    check_nothing_left(*loop);
}

TEST_CASE("a root that ignores a stop is ended where it stands") {
    ReportingLoop loop;
    int alive = 0;
    auto result = loop->run([&]() -> Task<int> {
        const Counted local(alive);
        loop->stop();
        for (;;) static_cast<void>(co_await yield());
    });
    CHECK(result.error() == std::errc::operation_canceled);
    CHECK(alive == 0);
    CHECK(loop.reports.size() == 1);
    check_nothing_left(*loop);
}

// ---- other threads ------------------------------------------------------------------------------

TEST_CASE("posts of many threads are all delivered, those of one thread in order") {
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

TEST_CASE("stop before run makes it return at once, and only that one") {
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
    // TSan runs a handler at the next call that it knows; io_uring_enter is none, so that a signal
    // that comes while the loop sleeps would be handled only when something else wakes it.
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

// ---- limits and fairness ------------------------------------------------------------------------

TEST_CASE("more operations in flight than the ring has entries") {
    constexpr std::size_t pair_count = 200;
    ReportingLoop loop(4);
    std::vector<FdPair> pairs;
    for (std::size_t i = 0; i < pair_count; ++i) pairs.push_back(socket_pair());
    std::size_t right = 0;
    std::size_t finished = 0;
    Notification all_finished;
    waiting_for("200 receives on a ring of 4 entries");
    auto result = loop->run([&]() -> Task<> {
        for (std::size_t i = 0; i < pair_count; ++i) {
            loop->spawn(
                [&, i](TcpStream stream) -> Task<> {
                    auto received = co_await stream.recv();
                    if (received && text_of(*received) == std::to_string(i)) ++right;
                    if (++finished == pair_count) all_finished.notify(*loop);
                },
                TcpStream(std::move(pairs[i].first)));
        }
        while (loop->stats().operations_in_flight < pair_count) {
            static_cast<void>(co_await yield());
        }
        for (std::size_t i = 0; i < pair_count; ++i) {
            CHECK(write_all(pairs[i].second.get(), std::to_string(i)));
        }
        co_await all_finished.wait();
    });
    CHECK(result);
    CHECK(right == pair_count);
    const bool has_queue = loop->backend().backend == Backend::io_uring;
    CHECK((loop->stats().ring.full_queue_flushes > 0) == has_queue);
    check_nothing_left(*loop);
}

TEST_CASE("leaving with more operations in flight than the ring has entries cancels them all") {
    constexpr std::size_t pair_count = 200;
    ReportingLoop loop(4);
    std::vector<FdPair> pairs;
    for (std::size_t i = 0; i < pair_count; ++i) pairs.push_back(socket_pair());
    Endings endings;
    auto result = loop->run([&]() -> Task<> {
        for (FdPair& pair : pairs) {
            loop->spawn(note_recv, std::ref(endings), TcpStream(std::move(pair.first)));
        }
        while (loop->stats().operations_in_flight < pair_count) {
            static_cast<void>(co_await yield());
        }
    });
    CHECK(result);
    CHECK(endings.errors.size() == pair_count);
    CHECK(endings.alive == 0);
    for (const FdPair& pair : pairs) CHECK(end_of(pair.second.get()) == 0);
    check_nothing_left(*loop);
}

TEST_CASE("more completions at once than one wait hands over") {
    constexpr std::size_t pair_count = 3 * Ring::completions_per_wait_limit;
    ReportingLoop loop;
    std::vector<FdPair> pairs;
    for (std::size_t i = 0; i < pair_count; ++i) pairs.push_back(socket_pair());
    std::size_t finished = 0;
    Notification all_finished;
    waiting_for("768 receives that complete at once");
    auto result = loop->run([&]() -> Task<> {
        for (FdPair& pair : pairs) {
            loop->spawn(
                [&](TcpStream stream) -> Task<> {
                    auto received = co_await stream.recv();
                    CHECK(received);
                    if (++finished == pair_count) all_finished.notify(*loop);
                },
                TcpStream(std::move(pair.first)));
        }
        while (loop->stats().operations_in_flight < pair_count) {
            static_cast<void>(co_await yield());
        }
        for (const FdPair& pair : pairs) CHECK(write_all(pair.second.get(), "x"));
        co_await all_finished.wait();
    });
    CHECK(result);
    CHECK(finished == pair_count);
}

TEST_CASE("tasks that are always ready starve neither timers nor the kernel's answers") {
    ReportingLoop loop;
    auto pair = socket_pair();
    bool enough = false;
    waiting_for("a timer and a receive beside tasks that are always ready");
    auto result = loop->run([&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            loop->spawn([&]() -> Task<> {
                while (!enough) {
                    auto turned = co_await yield();
                    if (!turned) co_return;
                }
            });
        }
        TcpStream stream(std::move(pair.first));
        for (int round = 0; round < 20; ++round) {
            auto slept = co_await sleep_for(100us);
            CHECK(slept);
            CHECK(write_all(pair.second.get(), "x"));
            auto received = co_await stream.recv();
            CHECK(received);
        }
        enough = true;
    });
    CHECK(result);
}

TEST_CASE("a ready task costs a system call only once in resumptions_per_wait_limit") {
    ReportingLoop loop;
    constexpr std::uint64_t waits = 20;
    auto result = loop->run([&]() -> Task<std::uint64_t> {
        const auto before = loop->stats().ring.system_calls;
        for (std::uint64_t i = 0; i < waits * LoopCore::resumptions_per_wait_limit; ++i) {
            static_cast<void>(co_await yield());
        }
        co_return loop->stats().ring.system_calls - before;
    });
    REQUIRE(result);
    CHECK(*result >= waits - 1);
    CHECK(*result <= waits + 1);
}

TEST_CASE("the statistics count what happened") {
    ReportingLoop loop;
    auto pair = socket_pair();
    REQUIRE(write_all(pair.second.get(), "x"));
    const LoopStats before = loop->stats();
    CHECK(before.turns == 0);
    CHECK(before.live_tasks == 0);
    auto result = loop->run([&]() -> Task<> {
        CHECK(loop->stats().live_tasks == 1);
        TcpStream stream(std::move(pair.first));
        auto received = co_await stream.recv();
        CHECK(received);
    });
    CHECK(result);
    const LoopStats after = loop->stats();
    CHECK(after.turns >= 2);
    CHECK(after.resumptions == 2);
    CHECK(after.ring.completions >= 1);
    CHECK(after.ring.submissions >= 2); // the receive, and the watch for wakes
    check_nothing_left(*loop);
}

TEST_CASE("a hundred thousand tasks come and go") {
    ReportingLoop loop;
    int ran = 0;
    auto result = loop->run([&]() -> Task<> {
        for (int batch = 0; batch < 100; ++batch) {
            for (int i = 0; i < 1000; ++i) {
                loop->spawn([&]() -> Task<> {
                    ++ran;
                    co_return;
                });
            }
            static_cast<void>(co_await yield());
            static_cast<void>(co_await yield());
            CHECK(loop->stats().live_tasks == 1);
        }
    });
    CHECK(result);
    CHECK(ran == 100'000);
}

TEST_CASE("a loop that cannot have a descriptor says so") {
    const Ending ending = end_of_child([] {
        while (::dup(STDERR_FILENO) >= 0) {
        }
        auto loop = EventLoop::create();
        return !loop && loop.error() == std::errc::too_many_files_open ? 0 : 1;
    });
    CHECK(ending.status == 0);
}

TEST_CASE(
    "a loop polls before it sleeps as long as waits are short, and stops when it was in vain") {
    const Simulation world(1, FaultSet::none()); // whose clock shows what it costs
    auto loop = EventLoop::create({.busy_poll = 50us});
    REQUIRE(loop);
    auto polls_in = [&](std::chrono::microseconds pause, int times) {
        const std::uint64_t before = loop->stats().busy_polls;
        auto ran = loop->run([=]() -> Task<> {
            for (int i = 0; i < times; ++i) static_cast<void>(co_await sleep_for(pause));
        });
        CHECK(ran);
        return loop->stats().busy_polls - before;
    };
    CHECK(polls_in(1s, 10) == 0);
    CHECK(polls_in(20us, 10) == 10 - LoopCore::short_waits_before_busy_poll);
    CHECK(polls_in(1s, 10) == 1);
    CHECK(polls_in(20us, LoopCore::short_waits_before_busy_poll) == 0);
    CHECK(polls_in(20us, 1) == 1);
}

TEST_CASE("a loop that polls misses neither the kernel's answers nor deadlines nor letters") {
    waiting_for("a loop that polls");
    auto loop = EventLoop::create({.busy_poll = 200us});
    REQUIRE(loop);
    auto [one, other] = socket_pair();
    TcpStream mine(std::move(one));
    TcpStream theirs(std::move(other));
    int letters = 0;
    auto ran = loop->run([&]() -> Task<> {
        auto echo = [&]() -> Task<> {
            for (;;) {
                auto chunk = co_await theirs.recv();
                if (!chunk || chunk->empty()) co_return;
                auto sent = co_await theirs.send_all(*chunk);
                if (!sent) co_return;
            }
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(echo);
            std::array<std::byte, 3> memory{};
            for (int i = 0; i < 1000; ++i) {
                if (i % 100 == 0) loop->post([&] { ++letters; });
                if (i % 50 == 0) {
                    const auto pause = i % 100 == 0 ? 1us : 1ms;
                    auto slept = co_await sleep_for(pause);
                    CHECK(slept);
                }
                auto sent = co_await mine.send_all(memory);
                auto received = co_await mine.recv_exactly(memory);
                CHECK(sent);
                CHECK(received);
            }
            group.cancel();
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(ran);
    CHECK(letters == 10);
}

TEST_CASE("receives that wait for long are parked, once each, and the loop sleeps on") {
    LoopOptions options;
    options.park_after = 20ms;
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    if (loop->backend().backend != Backend::io_uring) RINGLET_SKIP("only io_uring parks");
    constexpr std::size_t count = 3 * LoopCore::parks_per_turn_limit;
    std::size_t received = 0;
    const auto lent_before = Buffer::lent_count();
    auto result = loop->run([&]() -> Task<> {
        std::vector<UniqueFd> others;
        for (std::size_t i = 0; i < count; ++i) {
            auto pair = socket_pair();
            others.push_back(std::move(pair.second));
            auto receive = [&received](TcpStream stream) -> Task<> {
                auto bytes = co_await stream.recv();
                if (bytes && text_of(*bytes) == "x") ++received;
            };
            loop->spawn(receive, TcpStream(std::move(pair.first)));
        }
        while (loop->stats().operations_in_flight < count) {
            auto turned = co_await yield();
            if (!turned) co_return;
        }
        // A turn asks back and makes polls of those of the turn before, as many of each; all are of one age.
        std::uint64_t submitted = loop->stats().ring.submissions;
        std::uint64_t most = 0;
        while (loop->stats().ring.parked_receives < count) {
            auto turned = co_await yield();
            if (!turned) co_return;
            const auto now = loop->stats().ring.submissions;
            most = std::max(most, now - std::exchange(submitted, now));
        }
        CHECK(most <= 2 * LoopCore::parks_per_turn_limit + 10);
        const auto turns = loop->stats().turns;
        auto slept = co_await sleep_for(100ms);
        CHECK(slept);
        CHECK(loop->stats().turns < turns + 5);
        CHECK(loop->stats().ring.parked_receives == count);
        for (const UniqueFd& other : others) REQUIRE(write_all(other.get(), "x"));
        while (received < count) {
            auto waited = co_await sleep_for(1ms);
            if (!waited) co_return;
        }
    });
    CHECK(result);
    CHECK(received == count);
    CHECK(Buffer::lent_count() == lent_before);
}
