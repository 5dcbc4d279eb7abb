#include "task/task_tree.hpp"

#include "net.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

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

namespace {

struct Lists {
    std::string summary;
    std::string full;
};

// Lists `alike` tasks that wait for `bell`, and `named` tasks with names of their own.
Lists lists_of(std::size_t alike, std::size_t named) {
    ReportingLoop loop;
    Event bell("the bell");
    Lists lists;
    std::vector<std::string> names;
    for (std::size_t index = 0; index < named; ++index)
        names.push_back("named " + std::to_string(index));
    auto waits = [&]() -> Task<> { static_cast<void>(co_await bell.wait()); };
    auto body = [&](TaskGroup& group) -> Task<> {
        for (std::size_t index = 0; index < alike; ++index) group.spawn("alike", waits);
        for (const std::string& name : names) group.spawn(name.c_str(), waits);
        auto turned = co_await yield();
        CHECK(turned);
        lists = {.summary = loop->dump(), .full = loop->dump(TaskList::full)};
        group.cancel();
    };
    auto result = loop->run([&]() -> Task<> {
        auto ended = co_await with_task_group(body);
        CHECK(ended);
    });
    CHECK(result);
    return lists;
}

std::size_t count(const std::string& text, std::string_view part) {
    std::size_t times = 0;
    for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size()))
        ++times;
    return times;
}

} // namespace

TEST_CASE("a summary counts tasks that are alike, the largest group first") {
    const Lists lists = lists_of(1000, 3);
    CAPTURE(lists.summary);
    CHECK(lists.summary.starts_with("1000 times task \"alike\" (task_tree_test.cpp:"));
    CHECK(lists.summary.find(" waits for Event \"the bell\", for ") != std::string::npos);
    CHECK(lists.summary.find("; for longest Event \"the bell\"\n") != std::string::npos);
    CHECK(count(lists.summary, "task \"alike\"") == 1);
    CHECK(count(lists.summary, "\n  task \"named ") == 3);
    CHECK(lists.summary.find("left out") == std::string::npos);
    CHECK(count(lists.full, "\n  task \"alike\"") == 1000);
    CHECK(lists.full.find("times") == std::string::npos);
}

TEST_CASE("a summary lists a few tasks one by one, like the full list") {
    const Lists few = lists_of(alike_tasks_listed, 2);
    CHECK(count(few.summary, "\n  task \"alike\"") == alike_tasks_listed);
    CHECK(count(few.summary, "\n") == count(few.full, "\n"));
    const Lists more = lists_of(alike_tasks_listed + 1, 2);
    CHECK(more.summary.starts_with("5 times task \"alike\""));
}

TEST_CASE("a summary is bounded, and says how many tasks it leaves out") {
    const Lists lists = lists_of(10, listed_tasks_limit + 20);
    CAPTURE(lists.summary);
    CHECK(lists.summary.starts_with("10 times task \"alike\""));
    CHECK(lists.summary.ends_with("\nand 21 other tasks, which are left out\n")); // one is the root
    CHECK(count(lists.summary, "\n") == 1 + listed_tasks_limit + 1);
    CHECK(count(lists.full, "\n  task \"named ") == listed_tasks_limit + 20);
}

TEST_CASE("a summary limits the number of groups, and leaves out the smallest") {
    ReportingLoop loop;
    std::string summary;
    std::vector<std::unique_ptr<Event>> bells;
    std::vector<std::string> names;
    constexpr std::size_t groups = listed_tasks_limit + 7;
    names.reserve(groups); // they are not copied
    for (std::size_t index = 0; index < groups; ++index) {
        names.push_back("bell " + std::to_string(index));
        bells.push_back(std::make_unique<Event>(names.back().c_str()));
    }
    auto waits = [](Event* bell) -> Task<> { static_cast<void>(co_await bell->wait()); };
    auto body = [&](TaskGroup& group) -> Task<> {
        for (std::size_t index = 0; index < groups; ++index) {
            const std::size_t size = alike_tasks_listed + (index < 7 ? 1 : 2);
            for (std::size_t number = 0; number < size; ++number)
                group.spawn("alike", waits, bells[index].get());
        }
        auto turned = co_await yield();
        CHECK(turned);
        summary = loop->dump();
        group.cancel();
    };
    auto result = loop->run([&]() -> Task<> {
        auto ended = co_await with_task_group(body);
        CHECK(ended);
    });
    CHECK(result);
    CAPTURE(summary);
    CHECK(count(summary, "6 times task") == listed_tasks_limit);
    CHECK(count(summary, "5 times task") == 0);
    CHECK(summary.find("\nand 35 tasks of smaller groups, which are left out\n") != summary.npos);
}

TEST_CASE("a summary counts connections together, and names the one that has waited longest") {
    ReportingLoop loop;
    std::vector<FdPair> pairs;
    for (int index = 0; index < 8; ++index) pairs.push_back(tcp_pair());
    std::string summary;
    auto reads = [](TcpStream stream) -> Task<> { static_cast<void>(co_await stream.recv()); };
    auto sleeps = []() -> Task<> { static_cast<void>(co_await sleep_for(std::chrono::hours(1))); };
    auto body = [&](TaskGroup& group) -> Task<> {
        for (auto& pair : pairs) group.spawn("reader", reads, TcpStream(std::move(pair.first)));
        for (int index = 0; index < 8; ++index) group.spawn("sleeper", sleeps);
        auto turned = co_await yield();
        CHECK(turned);
        summary = loop->dump();
        group.cancel();
    };
    auto result = loop->run([&]() -> Task<> {
        auto ended = co_await with_task_group(body);
        CHECK(ended);
    });
    CHECK(result);
    CAPTURE(summary);
    CHECK(summary.find("8 times task \"reader\"") != summary.npos);
    CHECK(summary.find("; for longest recv on descriptor ") != summary.npos);
    CHECK(summary.find("8 times task \"sleeper\"") != summary.npos);
    CHECK(summary.find(" waits for sleep, for ") != summary.npos);
}

TEST_CASE("a deadlocked run returns an error and lists its tasks, and the loop can be used again") {
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

TEST_CASE("a run whose tasks wait for each other is not a deadlock if another thread may post") {
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
