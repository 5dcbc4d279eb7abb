#include <ringlet/draining.hpp>
#include <ringlet/hand_over.hpp>
#include <ringlet/server.hpp>
#include <ringlet/workers.hpp>

#include "echo.hpp"
#include "net.hpp"
#include "serving_thread.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

std::string next_path() {
    static std::atomic<int> count{0};
    return "unix:/tmp/ringlet-hand-over-" + std::to_string(::getpid()) + "-" +
           std::to_string(count++) + ".sock";
}

ServeOptions options_at(const std::string& path, std::size_t workers = 1) {
    ServeOptions options = quiet_options();
    options.hand_over = path;
    options.workers = workers;
    options.drain_timeout = 1h;
    return options;
}

ServeOptions after(const WorkersThread& server, const std::string& path, std::size_t workers = 1) {
    ServeOptions options = options_at(path, workers);
    options.listen = server.address().to_string();
    return options;
}

// Answers each message with everything received on this connection, in any program.
Task<> remember(StreamSocket stream) {
    std::string all(handed_over_state().value_or(""));
    for (;;) {
        auto received = co_await recv_or_hand_over(stream, all);
        if (!received || received->empty()) co_return;
        all += received->text();
        auto sent = co_await stream.send_all(all);
        if (!sent) co_return;
    }
}

Task<> echo_or_go(StreamSocket stream) {
    for (;;) {
        auto received = co_await recv_or_hand_over(stream);
        if (!received || received->empty()) co_return;
        auto sent = co_await stream.send_all(*received);
        if (!sent) co_return;
    }
}

bool answers(const UniqueFd& client, std::string_view message, std::string_view answer) {
    return write_all(client.get(), message) && read_up_to(client.get(), answer.size()) == answer;
}

} // namespace

TEST_CASE("connections at rest go to the next program, with the state from their handlers") {
    for (const std::size_t workers : {1u, 3u}) {
        for (const std::size_t more : {1u, 2u}) {
            CAPTURE(workers);
            CAPTURE(more);
            const std::string path = next_path();
            WorkersThread first(options_at(path, workers), remember);
            std::vector<UniqueFd> clients;
            for (int i = 0; i < 150; ++i) {
                clients.push_back(connect_to(first.address()));
                REQUIRE(answers(clients.back(), "a", "a"));
            }
            waiting_for("the first program to end, since nobody is left");
            WorkersThread second(after(first, path, more), remember);
            const ServeReport of_first = first.finish();
            CHECK(of_first.handed_over_count == 150);
            CHECK(of_first.cancelled_count == 0);
            CHECK(of_first.failed_count == 0);
            for (const UniqueFd& client : clients) REQUIRE(answers(client, "b", "ab"));
            waiting_for("the second program to end");
            WorkersThread third(after(first, path, workers), remember);
            const ServeReport of_second = second.finish();
            CHECK(of_second.taken_over_count == 150);
            CHECK(of_second.accepted_count == 0);
            CHECK(of_second.handed_over_count == 150);
            for (const UniqueFd& client : clients) REQUIRE(answers(client, "c", "abc"));
            clients.clear();
            third.stop();
            waiting_for("the third program to end");
            CHECK(third.finish().taken_over_count == 150);
        }
    }
}

TEST_CASE("connections of a Unix socket are handed over too") {
    const std::string path = next_path();
    ServeOptions options = options_at(path, 2);
    options.listen = "unix:@ringlet-hand-over-" + std::to_string(::getpid());
    WorkersThread first(options, remember);
    const UniqueFd client = connect_to(first.address());
    REQUIRE(answers(client, "a", "a"));
    waiting_for("the first program to end");
    WorkersThread second(options, remember);
    CHECK(first.finish().handed_over_count == 1);
    CHECK(answers(client, "b", "ab"));
}

TEST_CASE("a busy connection is handed over between two messages, and loses no byte") {
    const std::string path = next_path();
    auto server = std::make_unique<WorkersThread>(options_at(path, 2), echo_or_go);
    const Endpoint address = server->address();
    std::atomic<bool> enough{false};
    std::atomic<int> broken{0};
    std::vector<std::thread> talking;
    for (int i = 0; i < 3; ++i) {
        talking.emplace_back([&, i] {
            const UniqueFd client = connect_to(address);
            for (int count = 0; !enough; ++count) {
                if (!echoes(client, std::to_string(i) + ":" + std::to_string(count))) ++broken;
            }
        });
    }
    waiting_for("programs to follow each other");
    for (int i = 0; i < 5; ++i) {
        auto next = std::make_unique<WorkersThread>(after(*server, path, 2), echo_or_go);
        server->finish();
        server = std::move(next);
    }
    enough = true;
    for (std::thread& thread : talking) thread.join();
    CHECK(broken == 0);
}

TEST_CASE("clients accepted ahead or queued are served by one of the two programs") {
    for (const bool multishot : {false, true}) {
        CAPTURE(multishot);
        const std::string path = next_path();
        ServeOptions options = options_at(path);
        options.max_connections = 3;
        options.loop.features.multishot_accept = multishot;
        std::atomic<bool> all_have_come{false};
        auto handler = [&](TcpStream stream) -> Task<> {
            while (!all_have_come) std::this_thread::yield(); // blocks the loop until then
            co_await echo(std::move(stream));
        };
        WorkersThread first(options, handler);
        std::vector<UniqueFd> clients;
        for (int i = 0; i < 50; ++i) {
            clients.push_back(connect_to(first.address()));
            CHECK(write_all(clients.back().get(), std::to_string(100 + i)));
        }
        all_have_come = true;
        CHECK(read_up_to(clients.front().get(), 3) == "100");
        waiting_for("the second program to start");
        WorkersThread second(after(first, path), echo);
        waiting_for("those who waited for a place in the first program");
        for (std::size_t i = 1; i < clients.size(); ++i) {
            clients[i - 1].reset();
            CHECK(read_up_to(clients[i].get(), 3) == std::to_string(100 + i));
        }
        clients.clear();
        waiting_for("both programs to end");
        const ServeReport of_first = first.finish();
        CHECK(of_first.cancelled_count == 0);
        second.stop();
        CHECK(of_first.accepted_count + second.finish().accepted_count == 50);
    }
}

TEST_CASE("a connection that is not at rest stays in the first program until it ends") {
    const std::string path = next_path();
    std::atomic<bool> drains{false};
    auto handler = [&](TcpStream stream) -> Task<> {
        auto received = co_await stream.recv(); // a plain recv is not a rest
        if (!received) co_return;
        auto stopping = co_await draining();
        if (!stopping) co_return;
        drains = true;
        auto again = co_await stream.recv();
        if (!again) co_return;
        auto sent = co_await stream.send_all("here");
        static_cast<void>(sent);
    };
    WorkersThread first(options_at(path), handler);
    const UniqueFd client = connect_to(first.address());
    REQUIRE(write_all(client.get(), "x"));
    WorkersThread second(after(first, path), remember);
    waiting_for("the first program to drain");
    while (!drains) std::this_thread::yield();
    CHECK(answers(client, "y", "here"));
    waiting_for("the first program to end");
    const ServeReport report = first.finish();
    CHECK(report.handed_over_count == 0);
    CHECK(report.cancelled_count == 0);
}

TEST_CASE("a peer set by a proxy is kept in the next program") {
    const std::string path = next_path();
    auto handler = [](TcpStream stream) -> Task<Result<void>> {
        if (!handed_over_state()) stream.set_peer(*Endpoint::parse("192.0.2.7:4711"));
        for (;;) {
            auto received = co_await recv_or_hand_over(stream);
            if (!received) co_return received.error(); // no failure if handed over
            if (received->empty()) co_return Result<void>();
            auto peer = stream.peer();
            const std::string name = peer ? peer->to_string() : "nobody";
            auto sent = co_await stream.send_all(name);
            if (!sent) co_return sent;
        }
    };
    WorkersThread first(options_at(path), handler);
    const UniqueFd client = connect_to(first.address());
    REQUIRE(answers(client, "a", "192.0.2.7:4711"));
    waiting_for("the first program to end");
    WorkersThread second(after(first, path), handler);
    CHECK(first.finish().failed_count == 0);
    CHECK(answers(client, "b", "192.0.2.7:4711"));
}

TEST_CASE("outside of a server recv_or_hand_over is recv") {
    auto ran = run_on_loop([]() -> Task<> {
        auto [ours, theirs] = socket_pair();
        StreamSocket stream(std::move(ours));
        CHECK(write_all(theirs.get(), "hello"));
        CHECK_FALSE(handed_over_state());
        auto received = co_await recv_or_hand_over(stream, "state");
        REQUIRE(received);
        CHECK(received->text() == "hello");
    });
    CHECK(ran);
}

TEST_CASE("a connection moved from another worker sees the drain too") {
    ServeOptions options = quiet_options();
    options.workers = 3;
    options.drain_timeout = 1h;
    WorkersThread server(options, [](TcpStream stream) -> Task<> {
        auto greeted = co_await stream.send_all("!");
        if (!greeted) co_return;
        auto stopping = co_await draining();
        static_cast<void>(stopping);
    });
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 200; ++i) {
        clients.push_back(connect_to(server.address()));
        REQUIRE(read_up_to(clients.back().get(), 1) == "!");
    }
    server.stop();
    waiting_for("every handler to see that its server drains");
    CHECK(server.finish().cancelled_count == 0);
}
