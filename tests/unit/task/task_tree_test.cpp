#include "task/task_tree.hpp"

#include "net.hpp"

#include <thread>

#include <string>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("dump shows tasks as a tree, with their places and what they wait for") {
    ReportingLoop loop;
    Event never("the bell");
    auto pair = tcp_pair();
    const std::string descriptor = "descriptor " + std::to_string(pair.first.get());
    std::string dump;
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            auto reads = [&]() -> Task<> { static_cast<void>(co_await stream.recv()); };
            auto waits = [&]() -> Task<> { static_cast<void>(co_await never.wait()); };
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn("reader", reads);
                group.spawn("waiter", waits);
                static_cast<void>(co_await yield());
                dump = loop->dump();
                group.cancel();
            };
            static_cast<void>(co_await with_task_group(body));
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    CAPTURE(dump);
    CHECK(dump.find("\n  task \"reader\" (task_tree_test.cpp:") != std::string::npos);
    CHECK(dump.find("recv on " + descriptor) != std::string::npos);
    CHECK(dump.find("\n  task \"waiter\"") != std::string::npos);
    CHECK(dump.find("the bell") != std::string::npos);
}

TEST_CASE(
    "a run that can never continue says so, lists its tasks, and the loop can be used again") {
    const WithoutSignalHandlers nobody_may_interrupt;
    if (thread_sanitizer_runs) RINGLET_SKIP("TSan has a thread of its own");
    ReportingLoop loop;
    waiting_for("a deadlock to be noticed");
    auto result = loop->run([&]() -> Task<> {
        Event never("never");
        auto told = co_await never.wait();
        CHECK(told.error() == std::errc::operation_canceled);
    });
    CHECK(result.error() == Errc::would_block_forever);
    REQUIRE(loop.reports.size() == 2);
    CHECK(loop.reports[1].find("waits for Event \"never\"") != std::string::npos);
    auto again = loop->run([]() -> Task<int> { co_return 1; });
    CHECK(again.value() == 1);
}

TEST_CASE("a run whose tasks wait for each other goes on when another thread may post") {
    ReportingLoop loop;
    std::thread other;
    waiting_for("a post of another thread");
    auto result = loop->run([&]() -> Task<> {
        Event told("told");
        other = std::thread([&] { loop->post([&] { told.set(); }); });
        auto waited = co_await told.wait();
        CHECK(waited);
    });
    other.join();
    CHECK(result);
    CHECK(loop.reports.empty());
}
