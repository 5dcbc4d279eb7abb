#include "serve/informing.hpp"

#include <ringlet/server.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/workers.hpp>

#include "echo.hpp"
#include "net.hpp"
#include "notify_socket.hpp"
#include "serving_thread.hpp"

#include <chrono>
#include <csignal>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

ServeOptions told_options(std::size_t workers) {
    ServeOptions options = quiet_options();
    options.workers = workers;
    return options;
}

} // namespace

TEST_CASE("the status line has the connections and addresses of a server") {
    Event stopping;
    std::size_t count = 12;
    const bool is_followed = false;
    Informant about{.addresses = {loopback("127.0.0.1:3200")},
                    .stopping = stopping,
                    .connections = [&] { return count; },
                    .turns = {},
                    .is_followed = is_followed};
    CHECK(status_of(about) == "serving 12 connections on 127.0.0.1:3200");
    count = 1;
    about.addresses.push_back(loopback("unix:@echo"));
    CHECK(status_of(about) == "serving 1 connection on 127.0.0.1:3200, unix:@echo");
    stopping.set();
    CHECK(status_of(about) == "draining 1 connection on 127.0.0.1:3200, unix:@echo");
}

TEST_CASE("a service manager gets READY, the status and STOPPING") {
    for (const std::size_t workers : {1U, 2U}) {
        CAPTURE(workers);
        NotifySocket manager;
        const Variable variable("NOTIFY_SOCKET", manager.variable());
        WorkersThread server(told_options(workers), echo);
        const std::string where = " on " + server.address().to_string();
        CHECK(manager.until("READY=1") == "READY=1\nSTATUS=serving 0 connections" + where);
        UniqueFd client = connect_to(server.address());
        CHECK(echoes(client, "hello"));
        CHECK(manager.until("STATUS=") == "STATUS=serving 1 connection" + where);
        server.stop();
        CHECK(manager.until("STOPPING=1") == "STOPPING=1\nSTATUS=draining 1 connection" + where);
        client.reset();
        CHECK(server.finish().accepted_count == 1);
        CHECK(manager.nothing_for(1ms, "WATCHDOG")); // not enabled
    }
}

TEST_CASE("a service manager gets nothing unless notifications are enabled") {
    for (const std::size_t workers : {1U, 2U}) {
        CAPTURE(workers);
        NotifySocket manager;
        const Variable variable("NOTIFY_SOCKET", manager.variable());
        ServeOptions options = told_options(workers);
        options.notify_service_manager = false;
        WorkersThread server(options, echo);
        CHECK(echoes(connect_to(server.address()), "hello"));
        server.stop();
        CHECK(server.finish().accepted_count == 1);
        CHECK(manager.next().empty());
    }
}

TEST_CASE("READY is sent again if there was no room for it") {
    NotifySocket manager;
    const ServiceManager other(manager.address(), 0s);
    while (other.status("full")) {
    }
    const Variable variable("NOTIFY_SOCKET", manager.variable());
    WorkersThread server(told_options(1), echo);
    CHECK(echoes(connect_to(server.address()), "hello")); // so it has tried
    CHECK(manager.until("READY=1").starts_with("READY=1\nSTATUS=serving "));
    server.stop();
    CHECK(server.finish().accepted_count == 1);
}

TEST_CASE("a reload is reported before and after its hook, even if the hook throws") {
    NotifySocket manager;
    const Variable variable("NOTIFY_SOCKET", manager.variable());
    std::vector<std::string> said;
    LoopOptions loop_options;
    loop_options.report = [&](std::string_view line) { said.emplace_back(line); };
    auto loop = EventLoop::create(loop_options);
    REQUIRE(loop);
    ServeOptions options;
    options.reload_signal = SIGHUP;
    int called = 0;
    std::string first;
    options.on_signal = [&](int) {
        first = manager.next();
        if (++called == 2) throw std::runtime_error("no such file");
    };
    auto call = [&](int signal, bool is_stopping) {
        auto run = loop->run([&]() -> Task<> {
            call_hook(*loop, options, signal, is_stopping);
            auto slept = co_await sleep_for(1ms);
            static_cast<void>(slept);
        });
        CHECK(run);
    };
    for (int i = 1; i <= 2; ++i) {
        call(SIGHUP, false);
        CHECK(called == i);
        CHECK(first.starts_with("RELOADING=1\nMONOTONIC_USEC="));
        CHECK(manager.next() == "READY=1");
    }
    REQUIRE(said.size() == 1);
    CHECK(said[0].find("no such file") != std::string::npos);

    // Another signal, one that comes while the server stops, and one without a service manager.
    call(SIGUSR2, false);
    call(SIGHUP, true);
    options.notify_service_manager = false;
    call(SIGHUP, false);
    CHECK(called == 5);
    CHECK(manager.next().empty());
}

TEST_CASE("a reload waits until it can be reported") {
    NotifySocket manager;
    const ServiceManager other(manager.address(), 0s);
    while (other.status("full")) {
    }
    const Variable variable("NOTIFY_SOCKET", manager.variable());
    auto loop = EventLoop::create();
    REQUIRE(loop);
    ServeOptions options;
    options.reload_signal = SIGHUP;
    bool called = false;
    options.on_signal = [&](int) { called = true; };
    auto run = loop->run([&]() -> Task<> {
        call_hook(*loop, options, SIGHUP, false);
        auto slept = co_await sleep_for(20ms);
        CHECK_FALSE(called);
        while (!manager.next().empty()) {
        }
        for (int i = 0; i < 1000 && !called && slept; ++i) slept = co_await sleep_for(10ms);
    });
    CHECK(run);
    CHECK(called);
    CHECK(manager.next().starts_with("RELOADING=1\n"));
    CHECK(manager.next() == "READY=1");
}

// The handler of one connection blocks its loop, like one that computes or waits in a system call.
TEST_CASE("a watchdog is fed while all loops turn, and not while one is stuck") {
    for (const std::size_t workers : {1U, 3U}) {
        CAPTURE(workers);
        NotifySocket manager;
        const Variable variable("NOTIFY_SOCKET", manager.variable());
        const Variable time("WATCHDOG_USEC", "80000");
        auto release = std::make_shared<std::promise<void>>();
        auto stuck = std::make_shared<std::promise<void>>();
        auto released = release->get_future().share();
        auto handler = [released, stuck](TcpStream stream) -> Task<> {
            auto chunk = co_await stream.recv();
            if (!chunk || chunk->text() != "stick") co_return;
            stuck->set_value();
            released.wait();
        };
        WorkersThread server(told_options(workers), handler);
        for (int i = 0; i < 10; ++i) CHECK(manager.until("WATCHDOG=1") == "WATCHDOG=1");
        UniqueFd client = connect_to(server.address());
        CHECK(write_all(client.get(), "stick"));
        stuck->get_future().wait();
        // Those already sent, and the answers of loops that were asked before.
        static_cast<void>(manager.nothing_for(100ms, "nothing"));
        CHECK(manager.nothing_for(500ms, "WATCHDOG=1"));
        release->set_value();
        for (int i = 0; i < 3; ++i) CHECK(manager.until("WATCHDOG=1") == "WATCHDOG=1");
        server.stop();
        CHECK(server.finish().accepted_count == 1);
    }
}

TEST_CASE("a watchdog is fed while one worker drains and the others have ended") {
    NotifySocket manager;
    const Variable variable("NOTIFY_SOCKET", manager.variable());
    const Variable time("WATCHDOG_USEC", "80000");
    WorkersThread server(told_options(3), echo);
    UniqueFd client = connect_to(server.address());
    CHECK(echoes(client, "hello"));
    server.stop();
    CHECK(manager.until("STOPPING=1").starts_with("STOPPING=1\nSTATUS=draining 1 connection"));
    for (int i = 0; i < 30; ++i) CHECK(manager.until("WATCHDOG=1") == "WATCHDOG=1");
    CHECK(echoes(client, "still"));
    client.reset();
    CHECK(server.finish().cancelled_count == 0);
}
