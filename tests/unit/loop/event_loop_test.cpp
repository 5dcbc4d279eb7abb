#include <ringlet/event_loop.hpp>

#include "net.hpp"

#include <csignal>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

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

TEST_CASE("run of a task that returns a Result does not nest Results") {
    auto good = run_on_loop([]() -> Task<Result<std::string>> { co_return std::string("yes"); });
    static_assert(std::is_same_v<decltype(good), Result<std::string>>);
    REQUIRE(good);
    CHECK(*good == "yes");

    auto bad = run_on_loop([]() -> Task<Result<std::string>> { co_return std::errc::no_link; });
    CHECK(bad.error() == std::errc::no_link);
}

TEST_CASE("run throws what the task throws, and the loop can be used again") {
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

TEST_CASE("a loop that never runs destroys its tasks and letters without starting them") {
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
            // Everything named here is destroyed before the task looks at its copy.
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

TEST_CASE("an error or exception that leaves a spawned task goes to the report hook") {
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

TEST_CASE("a loop whose eventfd was closed aborts with a message instead of spinning") {
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
