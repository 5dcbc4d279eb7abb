#include <ringlet/draining.hpp>
#include <ringlet/server.hpp>
#include <ringlet/when.hpp>

#include "echo.hpp"
#include "net.hpp"
#include "serving_thread.hpp"

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

void stop_with_a_queue(ServeOptions options) {
    options.max_connections = 3;
    ServerThread server(options, echo_any);
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 100; ++i) {
        clients.push_back(connect_to(server.address()));
        REQUIRE(clients.back());
        CHECK(write_all(clients.back().get(), std::to_string(100 + i)));
    }
    CHECK(read_up_to(clients.front().get(), 3) == "100");
    server.stop();
    waiting_for("those who were in the queue when the server was stopped");
    for (std::size_t i = 1; i < clients.size(); ++i) {
        clients[i - 1].reset();
        CHECK(read_up_to(clients[i].get(), 3) == std::to_string(100 + i));
    }
    CHECK_FALSE(connect_to(server.address())); // no later client
    clients.clear();
    const ServeReport report = server.finish();
    CHECK(report.accepted_count == 100);
    CHECK(report.cancelled_count == 0);
}

void stop_in_a_storm(const ServeOptions& options) {
    auto server = std::make_unique<ServerThread>(options, echo);
    const Endpoint address = server->address();
    std::atomic<int> served{0};
    std::atomic<int> broken{0};
    std::vector<std::thread> storm;
    for (int i = 0; i < 4; ++i) {
        storm.emplace_back([&] {
            while (const UniqueFd client = connect_to(address))
                ++(echoes(client, "x") ? served : broken);
        });
    }
    waiting_for("a storm to be served");
    while (served < 20) std::this_thread::yield();
    server->stop();
    waiting_for("a stopped server to refuse");
    for (std::thread& thread : storm) thread.join();
    server->finish();
    CHECK(broken == 0);
}

} // namespace

TEST_CASE("a stop serves every client in the queue, even at the connection limit") {
    for (const bool multishot : {false, true}) { // it accepts most of the queue early
        for (const std::string& listen :
             {std::string("127.0.0.1:0"), "unix:@ringlet-stopping-" + std::to_string(::getpid())}) {
            CAPTURE(multishot);
            CAPTURE(listen);
            ServeOptions options = quiet_options();
            options.listen = listen;
            options.loop.features.multishot_accept = multishot;
            stop_with_a_queue(options);
        }
    }
}

TEST_CASE("clients that connect while a server stops are served or refused, not reset") {
    for (int round = 0; round < 6; ++round) {
        ServeOptions options = quiet_options();
        options.loop.features.multishot_accept = round % 2 == 1;
        CAPTURE(round);
        stop_in_a_storm(options);
    }
}

TEST_CASE("a handler can ask whether its server drains, or await it") {
    std::atomic<bool> asked_too_early{false};
    auto handler = [&](TcpStream stream) -> Task<> {
        if (is_draining()) asked_too_early = true;
        auto greeted = co_await stream.send_all("waiting");
        if (!greeted) co_return;
        auto ended = co_await when_any(draining(), stream.recv());
        const char* what = ended.index == 0 && is_draining() ? "goodbye" : "strange";
        auto said = co_await stream.send_all(what);
        static_cast<void>(said);
    };
    ServeOptions options = quiet_options();
    options.drain_timeout = 1h;
    ServerThread server(options, handler);
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(connect_to(server.address()));
        CHECK(read_up_to(clients.back().get(), 7) == "waiting");
    }
    waiting_for("connections at rest to say goodbye");
    server.stop();
    for (const UniqueFd& client : clients) CHECK(read_up_to(client.get(), 7) == "goodbye");
    CHECK(server.finish().cancelled_count == 0);
    CHECK_FALSE(asked_too_early);
}

TEST_CASE("outside of a server nothing drains") {
    auto ran = run_on_loop([]() -> Task<> {
        CHECK_FALSE(is_draining());
        auto wait = []() -> Task<Result<void>> {
            auto drained = co_await draining();
            co_return drained;
        };
        auto waited = co_await with_timeout(1ms, wait);
        CHECK(waited.error() == std::errc::timed_out);
    });
    CHECK(ran);
}

TEST_CASE("a drain ends connections at rest, and leaves busy ones alone") {
    ServeOptions options = quiet_options();
    options.drain_timeout = 1h;
    options.drain_spread = 50ms;
    ServerThread server(options, echo);
    std::vector<UniqueFd> resting;
    for (int i = 0; i < 20; ++i) {
        resting.push_back(connect_to(server.address()));
        CHECK(echoes(resting.back(), "rest"));
    }
    UniqueFd busy = connect_to(server.address());
    std::atomic<bool> enough{false};
    std::atomic<int> lost{0};
    std::thread talking([&] {
        while (!enough) {
            if (!echoes(busy, "busy")) ++lost;
        }
        busy.reset();
    });
    waiting_for("connections at rest to be ended");
    server.stop();
    for (const UniqueFd& client : resting) CHECK(end_of(client.get()) == 0);
    enough = true;
    talking.join();
    CHECK(lost == 0);
    CHECK(server.finish().cancelled_count == 0);
}
