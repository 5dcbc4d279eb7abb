#include <ringlet/server.hpp>

#include <ringlet/error.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/testing/simulation.hpp>
#include <ringlet/yield.hpp>

#include "echo.hpp"
#include "net.hpp"
#include "serving_thread.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("a server serves many clients at once, and one after another") {
    ServerThread server(quiet_options(), echo);
    for (int round = 0; round < 3; ++round) {
        std::vector<UniqueFd> clients;
        for (int i = 0; i < 100; ++i) clients.push_back(connect_to(server.address()));
        for (std::size_t i = 0; i < clients.size(); ++i) {
            CHECK(write_all(clients[i].get(), std::to_string(1000 + i)));
        }
        for (std::size_t i = 0; i < clients.size(); ++i) {
            CHECK(read_up_to(clients[i].get(), 4) == std::to_string(1000 + i));
        }
    }
    server.stop();
    const ServeReport report = server.finish();
    CHECK(report.accepted_count == 300);
    CHECK(report.cancelled_count == 0);
    CHECK(report.accept_pauses == 0);
    CHECK(report.loop.live_tasks == 0);
    CHECK(report.loop.operations_in_flight == 0);
    CHECK(report.loop.armed_timers == 0);
    CHECK(server.lines().empty());
}

TEST_CASE("a server leaks no descriptor") {
    const std::size_t open_before = descriptor_count();
    {
        ServerThread server(quiet_options(), echo);
        std::vector<UniqueFd> clients;
        for (int i = 0; i < 50; ++i) {
            clients.push_back(connect_to(server.address()));
            CHECK(echoes(clients.back(), "x"));
        }
        server.stop();
        server.stop();
        const ServeReport report = server.finish();
        CHECK(report.cancelled_count == 50);
        for (const UniqueFd& client : clients) CHECK(is_ended(client.get()));
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("at max_connections accepting pauses, and later clients are served when others leave") {
    ServeOptions options = quiet_options();
    options.max_connections = 2;
    std::atomic<int> now{0};
    std::atomic<int> most{0};
    ServerThread server(options, [&](TcpStream stream) -> Task<> {
        const int count = ++now;
        if (count > most) most = count;
        co_await echo(std::move(stream));
        --now;
    });
    UniqueFd first = connect_to(server.address());
    const UniqueFd second = connect_to(server.address());
    CHECK(echoes(first, "first"));
    CHECK(echoes(second, "second"));

    std::vector<UniqueFd> later;
    for (int i = 0; i < 3; ++i) {
        later.push_back(connect_to(server.address()));
        CHECK(later.back());
        CHECK(write_all(later.back().get(), "later"));
    }
    // Neither served nor closed. A correct server cannot fail here, however slow it is.
    for (const UniqueFd& client : later) CHECK_FALSE(is_readable(client.get(), 10));
    CHECK(echoes(second, "still here"));

    waiting_for("the clients in the backlog to be served");
    first.reset();
    for (UniqueFd& client : later) {
        CHECK(read_up_to(client.get(), 5) == "later");
        client.reset();
    }
    server.stop();
    CHECK(echoes(second, "drained"));
    server.stop();
    const ServeReport report = server.finish();
    CHECK(most == 2);
    CHECK(report.accepted_count == 5);
}

TEST_CASE("max_connections of 0 becomes what the descriptor limit leaves") {
    const Ending ending = end_of_child([] {
        const rlimit few{.rlim_cur = 200, .rlim_max = 200};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2;
        auto server = Server::create(quiet_options());
        if (!server) return 3;
        return server->max_connections() == 200 - ServeOptions::reserved_descriptors ? 0 : 4;
    });
    CHECK(ending.status == 0);
}

TEST_CASE("a stop while accepting pauses at the limit ends the server") {
    ServeOptions options = quiet_options();
    options.max_connections = 1;
    ServerThread server(options, echo);
    UniqueFd client = connect_to(server.address());
    CHECK(echoes(client, "x"));
    waiting_for("a server at its connection limit to stop");
    server.stop();
    until_refused(server.address());
    client.reset();
    const ServeReport report = server.finish();
    CHECK(report.accepted_count >= 1);
    CHECK(report.accepted_count < 100); // our own probes may have been in the queue
    CHECK(report.cancelled_count == 0);
}

TEST_CASE("a handler's exception ends its own connection only, and is reported") {
    ServerThread server(quiet_options(), [](TcpStream stream) -> Task<> {
        for (;;) {
            auto chunk = co_await stream.recv();
            if (!chunk || chunk->empty()) co_return;
            const std::string text = text_of(*chunk);
            if (text == "throw") throw std::runtime_error("boom");
            if (text == "odd") throw 5;
            auto sent = co_await stream.send_all(*chunk);
            if (!sent) co_return;
        }
    });
    const UniqueFd good = connect_to(server.address());
    const UniqueFd bad = connect_to(server.address());
    const UniqueFd odd = connect_to(server.address());
    CHECK(echoes(good, "one"));
    CHECK(write_all(bad.get(), "throw"));
    CHECK(is_ended(bad.get()));
    CHECK(write_all(odd.get(), "odd"));
    CHECK(is_ended(odd.get()));
    CHECK(echoes(good, "two"));
    server.stop();
    server.stop();
    const ServeReport report = server.finish();
    CHECK(report.accepted_count == 3);
    REQUIRE(server.lines().size() == 2);
    CHECK(server.lines()[0].find("boom") != std::string::npos);
    CHECK(server.lines()[1].find("not a std::exception") != std::string::npos);
}

TEST_CASE("a handler that throws before it returns a task ends only its own connection") {
    std::atomic<int> calls{0};
    ServerThread server(quiet_options(), [&](TcpStream stream) -> Task<> {
        if (calls++ == 0) throw std::runtime_error("not today");
        return echo(std::move(stream));
    });
    const UniqueFd first = connect_to(server.address());
    CHECK(is_ended(first.get()));
    const UniqueFd second = connect_to(server.address());
    CHECK(echoes(second, "hello"));
    server.stop();
    server.stop();
    static_cast<void>(server.finish());
    REQUIRE(server.lines().size() == 1);
    CHECK(server.lines()[0].find("not today") != std::string::npos);
}

TEST_CASE("after a stop new clients are refused, and a running connection may finish") {
    ServerThread server(quiet_options(), echo);
    UniqueFd client = connect_to(server.address());
    CHECK(echoes(client, "before"));
    waiting_for("new clients to be refused");
    server.stop();
    until_refused(server.address());
    CHECK(echoes(client, "after"));
    waiting_for("the server to end with its last connection");
    client.reset();
    const ServeReport report = server.finish();
    CHECK(report.cancelled_count == 0);
}

TEST_CASE("connections that outlast the drain time are cancelled and counted") {
    ServeOptions options = quiet_options();
    options.drain_timeout = 30ms;
    std::atomic<int> cancelled{0};
    ServerThread server(options, [&](TcpStream stream) -> Task<> {
        auto greeted = co_await stream.send_all(bytes_of("!"));
        if (!greeted) co_return;
        auto chunk = co_await stream.recv();
        if (chunk.error() == std::errc::operation_canceled) ++cancelled;
    });
    const UniqueFd first = connect_to(server.address());
    const UniqueFd second = connect_to(server.address());
    CHECK(read_up_to(first.get(), 1) == "!");
    CHECK(read_up_to(second.get(), 1) == "!");
    waiting_for("the drain time to end");
    const auto start = Clock::now();
    server.stop();
    const ServeReport report = server.finish();
    CHECK(Clock::now() - start >= 30ms);
    CHECK(report.cancelled_count == 2);
    CHECK(cancelled == 2);
    CHECK(end_of(first.get()) == 0);
    CHECK(end_of(second.get()) == 0);
}

TEST_CASE("a second stop ends the drain at once") {
    ServeOptions options = quiet_options();
    options.drain_timeout = std::chrono::hours(1);
    ServerThread server(options, echo);
    const UniqueFd client = connect_to(server.address());
    CHECK(echoes(client, "x"));
    waiting_for("the second stop to end the drain");
    server.stop();
    until_refused(server.address());
    CHECK(echoes(client, "draining"));
    server.stop();
    const ServeReport report = server.finish();
    CHECK(report.cancelled_count == 1);
    CHECK(end_of(client.get()) == 0);
}

TEST_CASE("a handler that ignores its cancellation does not hold the server") {
    ServerThread server(quiet_options(), [](TcpStream stream) -> Task<> {
        static_cast<void>(co_await stream.send_all(bytes_of("!")));
        for (;;) static_cast<void>(co_await stream.recv());
    });
    const UniqueFd client = connect_to(server.address());
    CHECK(read_up_to(client.get(), 1) == "!");
    waiting_for("a server whose handler ignores its cancellation to end");
    server.stop();
    server.stop();
    const ServeReport report = server.finish();
    CHECK(report.cancelled_count == 1);
    CHECK(report.loop.live_tasks == 0);
    CHECK(server.lines().size() == 1);
    CHECK(end_of(client.get()) == 0);
}

TEST_CASE("an idle connection ends with timed_out") {
    ServeOptions options = quiet_options();
    options.idle_timeout = 200ms;
    std::atomic<int> timed_out{0};
    ServerThread server(options, [&](TcpStream stream) -> Task<> {
        auto chunk = co_await stream.recv();
        if (chunk.error() == std::errc::timed_out) ++timed_out;
    });
    const auto start = Clock::now();
    const UniqueFd idle = connect_to(server.address());
    CHECK(end_of(idle.get()) == 0);
    CHECK(Clock::now() - start >= 199ms);
    CHECK(timed_out == 1);
    server.stop();
    static_cast<void>(server.finish());
}

TEST_CASE("an idle connection ends after its idle time, while a busy one stays") {
    const auto serves = [](Simulation& world) {
        ServeOptions options = quiet_options();
        options.idle_timeout = 2s;
        auto server = Server::create(options);
        if (!server) return world.check(false, server.error().message());
        int timed_out = 0;
        auto notes_its_end = [&](TcpStream stream) -> Task<> {
            for (;;) {
                const auto begin = Clock::now();
                auto chunk = co_await stream.recv();
                const auto waited = Clock::now() - begin;
                if (chunk.error() == std::errc::timed_out) {
                    ++timed_out;
                    world.check(waited >= 2s && waited < 3s, "an idle one ended at another time");
                }
                if (!chunk || chunk->empty()) co_return;
                auto sent = co_await stream.send_all(*chunk);
                if (!sent) co_return;
            }
        };
        auto clients = [&]() -> Task<> {
            auto idle = co_await TcpStream::connect(server->local());
            auto busy = co_await TcpStream::connect(server->local());
            if (!idle || !busy) co_return world.check(false, "no connection");
            std::array<std::byte, 1> byte{};
            for (int i = 0; i < 100; ++i) { // more than ten seconds
                auto sent = co_await busy->send_all(byte);
                auto echoed = co_await busy->recv_exactly(byte);
                world.check(sent && echoed, "the busy one was ended");
                auto slept = co_await sleep_for(100ms);
                if (!slept) co_return;
            }
            auto end = co_await idle->recv();
            world.check(end && end->empty(), "the idle one was not closed");
            server->stop();
            server->stop();
        };
        server->loop().spawn(clients);
        auto report = server->run(notes_its_end);
        world.check(report && timed_out == 1, "not one has timed out");
    };
    const auto report = simulate({.seeds = 50, .faults = FaultSet::none()}, serves);
    CHECK_MESSAGE(report, report.to_string());
}

TEST_CASE("the shortest idle time does not make the loop spin") {
    ServeOptions options = quiet_options();
    options.idle_timeout = 1ms;
    const auto start = Clock::now();
    ServerThread server(options, echo);
    // Long enough for a spinning loop to show.
    std::this_thread::sleep_for(20ms);
    server.stop();
    const ServeReport report = server.finish();
    const auto milliseconds = (Clock::now() - start) / 1ms;
    CHECK(report.loop.turns < static_cast<std::uint64_t>(20 * milliseconds));
}

TEST_CASE("stop before run ends run at once") {
    auto server = Server::create(quiet_options());
    REQUIRE(server);
    server->stop();
    waiting_for("run to return after a stop that came before it");
    auto report = server->run(echo);
    REQUIRE(report);
    CHECK(report->accepted_count == 0);
}

TEST_CASE("clients may connect between create and run") {
    UniqueFd client;
    std::promise<Server*> made;
    std::promise<void> connected;
    Result<ServeReport> report = std::errc::not_connected;
    std::thread thread([&] {
        auto server = Server::create(quiet_options());
        made.set_value(&*server);
        connected.get_future().wait();
        report = server->run([&](TcpStream stream) -> Task<> {
            auto sent = co_await stream.send_all(bytes_of("early"));
            CHECK(sent);
            server->stop();
        });
    });
    Server* server = made.get_future().get();
    client = connect_to(server->local());
    connected.set_value();
    CHECK(read_up_to(client.get(), 5) == "early");
    thread.join();
    REQUIRE(report);
    CHECK(report->accepted_count == 1);
}

TEST_CASE("when descriptors run out accepting pauses, reports it once, and resumes") {
    const Ending ending = end_of_child([] {
        auto server = Server::create(quiet_options());
        if (!server) return 2;
        std::vector<UniqueFd> clients;
        for (int i = 0; i < 3; ++i) clients.push_back(connect_to(server->local()));
        std::vector<UniqueFd> fill;
        for (int fd = ::dup(STDERR_FILENO); fd >= 0; fd = ::dup(STDERR_FILENO)) {
            fill.emplace_back(fd);
        }
        fill.pop_back(); // one connection at a time
        int served = 0;
        auto report = server->run([&](TcpStream stream) -> Task<> {
            // Holds the descriptor until accepting meets the limit.
            static_cast<void>(co_await sleep_for(5ms));
            static_cast<void>(co_await stream.send_all(bytes_of("x")));
            if (++served == 3) server->stop();
        });
        if (!report) return 3;
        if (served != 3) return 4;
        if (report->accept_pauses == 0) return 5;
        return report->accept_pauses < 50 ? 0 : 6;
    });
    CHECK(ending.signal == 0);
    CHECK_MESSAGE(ending.status == 0, ending.errors);
    CHECK(ending.says("accepting pauses: "));
    CHECK(ending.errors.find("accepting pauses") == ending.errors.rfind("accepting pauses"));
}

// ---- signals ------------------------------------------------------------------------------------

namespace {

/// A server in its own process. Its exit status is that of `serve`, or 40 plus the number of
/// cancelled connections.
struct ServerProcess {
    ServerProcess() {
        std::array<int, 2> ends{-1, -1};
        REQUIRE(::pipe(ends.data()) == 0);
        const UniqueFd reading(ends[0]);
        UniqueFd writing(ends[1]);
        id = start_child([&] {
            ServeOptions options = quiet_options();
            options.handle_signals = true;
            auto server = Server::create(options);
            if (!server) return exit_status(server);
            const std::string here = server->local().to_string();
            static_cast<void>(::write(writing.get(), here.data(), here.size()) > 0);
            writing.reset();
            auto report = server->run(echo);
            if (report && report->cancelled_count > 0) {
                return 40 + static_cast<int>(report->cancelled_count);
            }
            return exit_status(report);
        });
        writing.reset();
        address = loopback(read_up_to(reading.get(), 100));
    }
    pid_t id = -1;
    Endpoint address;
};

} // namespace

TEST_CASE("SIGTERM and SIGINT drain: connections finish, and the program exits normally") {
    for (const int number : {SIGTERM, SIGINT}) {
        ServerProcess server;
        UniqueFd client = connect_to(server.address);
        CHECK(echoes(client, "before"));
        waiting_for("the signalled server to refuse new clients");
        CHECK(::kill(server.id, number) == 0);
        until_refused(server.address);
        CHECK(echoes(client, "after"));
        client.reset();
        waiting_for("the drained server to end");
        const Ending ending = wait_for_end(server.id);
        CHECK(ending.signal == 0);
        CHECK(ending.status == 0);
    }
}

TEST_CASE("a second signal ends the server at once, in an orderly way") {
    ServerProcess server;
    const UniqueFd client = connect_to(server.address);
    CHECK(echoes(client, "x"));
    CHECK(::kill(server.id, SIGTERM) == 0);
    waiting_for("the signalled server to refuse new clients");
    until_refused(server.address);
    CHECK(echoes(client, "draining"));
    CHECK(::kill(server.id, SIGTERM) == 0);
    waiting_for("the server to end at the second signal");
    const Ending ending = wait_for_end(server.id);
    CHECK(ending.signal == 0);
    CHECK(ending.status == 41);
    CHECK(end_of(client.get()) == 0);
}

TEST_CASE("a task spawned on the server's loop runs beside the connections, and may stop it") {
    waiting_for("a server that one of its own tasks stops");
    auto server = Server::create(quiet_options());
    REQUIRE(server);
    bool was_cancelled = false;
    server->loop().spawn([&]() -> Task<> {
        auto slept = co_await sleep_for(1ms);
        CHECK(slept);
        server->stop();
        auto never = co_await sleep_for(1h);
        was_cancelled = never.error() == std::errc::operation_canceled;
    });
    auto report = server->run(echo);
    CHECK(report);
    CHECK(was_cancelled);
}

TEST_CASE("a server with a failing allocation at any moment ends, and can still be stopped") {
    waiting_for("a server in which an allocation fails");
    bool has_failed = true;
    for (std::uint64_t fails_at = 1; has_failed; ++fails_at) {
        CAPTURE(fails_at);
        FramePool::Audit audit{.fails_at = fails_at};
        ServeOptions options = quiet_options();
        options.loop.report = [](std::string_view) {};
        auto server = Server::create(options);
        REQUIRE(server);
        auto stops_late = [&]() -> Task<> {
            auto left = co_await sleep_for(1h);
            CHECK_FALSE(left);
            server->stop();
            auto pause = []() -> Task<Result<void>> {
                auto slept = co_await sleep_for(100us);
                co_return slept;
            };
            auto slept = co_await shield(pause);
            static_cast<void>(slept);
        };
        server->loop().spawn(stops_late);
        server->stop();
        FramePool::local().audit(&audit);
        try {
            static_cast<void>(server->run(echo));
        } catch (const std::bad_alloc&) {
            CHECK(audit.allocation_count >= fails_at);
        }
        FramePool::local().audit(nullptr);
        has_failed = audit.allocation_count >= fails_at;
        REQUIRE(fails_at < 1000);
    }
}

TEST_CASE("an idle connection uses no more memory of the pool than its budget") {
    // The echo handler's frame, its task record, the socket. The goal is 320.
    constexpr double budget_bytes = 608;
    constexpr std::size_t connection_count = 100;
    auto server = Server::create(quiet_options());
    REQUIRE(server);
    std::size_t served = 0;
    std::vector<UniqueFd> clients;
    double bytes_each = 0;
    auto hold_as_many_more = [&]() -> Task<Result<std::ptrdiff_t>> {
        const std::size_t wanted = served + connection_count;
        while (clients.size() < wanted) clients.push_back(connect_to(server->local()));
        while (served < wanted) {
            auto slept = co_await sleep_for(1ms);
            if (!slept) co_return slept.error();
        }
        co_return FramePool::local().in_use().bytes;
    };
    auto measure = [&]() -> Task<> {
        auto before = co_await hold_as_many_more();
        auto after = co_await hold_as_many_more();
        if (before && after) {
            bytes_each = static_cast<double>(*after - *before) / connection_count;
        }
        clients.clear();
        server->stop();
    };
    server->loop().spawn(measure);
    auto report = server->run([&](TcpStream stream) {
        ++served;
        return echo(std::move(stream));
    });
    REQUIRE(report);
    MESSAGE("bytes of the pool for each idle connection: ", bytes_each);
    CHECK(bytes_each > 0);
    if (!sanitizer_runs) CHECK(bytes_each <= budget_bytes); // frames are larger there
}

namespace {

Task<Result<void>> fail_on_request(TcpStream stream) {
    auto chunk = co_await stream.recv();
    if (!chunk) co_return chunk.error();
    if (chunk->text() == "fail") co_return std::errc::bad_message;
    if (chunk->text() == "throw") throw std::runtime_error("boom");
    auto sent = co_await stream.send_all(*chunk);
    co_return sent;
}

ServeReport serve_four(bool reports_errors, std::vector<std::string>& lines) {
    ServeOptions options = quiet_options();
    options.report_errors = reports_errors;
    ServerThread server(options, fail_on_request);
    for (const char* text : {"fail", "throw", "fail", "good"}) {
        const UniqueFd client = connect_to(server.address());
        REQUIRE(write_all(client.get(), text));
        if (std::string_view(text) == "good") CHECK(read_up_to(client.get(), 4) == "good");
        CHECK(is_ended(client.get()));
    }
    server.stop();
    ServeReport report = server.finish();
    lines = server.lines();
    return report;
}

} // namespace

TEST_CASE("an error that a handler returns is counted, and reported by name on request") {
    std::vector<std::string> lines;
    ServeReport report = serve_four(false, lines);
    CHECK(report.accepted_count == 4);
    CHECK(report.failed_count == 3);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("fail_on_request\" (server_test.cpp:") != std::string::npos);
    CHECK(lines[0].find("boom") != std::string::npos);
    report = serve_four(true, lines);
    CHECK(report.failed_count == 3);
    CHECK(lines.size() == 3);
}

TEST_CASE("a handler of StreamSocket serves a Unix socket, a handler of TcpStream does not") {
    ServeOptions options = quiet_options();
    options.listen = "unix:@ringlet-server-test-" + std::to_string(::getpid());
    {
        ServerThread server(options, [](StreamSocket stream) -> Task<> {
            auto chunk = co_await stream.recv();
            if (!chunk) co_return;
            auto sent = co_await stream.send_all(*chunk);
            static_cast<void>(sent);
        });
        UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(client.get(), server.address().data(), server.address().size_bytes()) ==
                0);
        CHECK(echoes(client, "hello"));
        server.stop();
        CHECK(server.finish().accepted_count == 1);
    }
    std::vector<std::string> lines;
    options.listen += "-2";
    options.loop.report = [&](std::string_view line) { lines.emplace_back(line); };
    auto server = Server::create(options);
    REQUIRE(server);
    auto refused = server->run(echo);
    CHECK(refused.error() == std::errc::address_family_not_supported);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("let it take a StreamSocket") != std::string::npos);
}
