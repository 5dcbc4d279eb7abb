#include <ringlet/copy_both_ways.hpp>

#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <string>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("bytes and half-closes pass in both directions, one after the other") {
    auto near = socket_pair();
    auto far = tcp_pair();
    const auto question = pattern(500'000);
    ReportingLoop loop;
    auto talk = [&]() -> Task<> {
        StreamSocket client(std::move(near.first));
        StreamSocket server(std::move(far.second));
        auto forward = [&]() -> Task<> {
            UnixStream left(std::move(near.second));
            TcpStream right(std::move(far.first));
            auto copied = co_await copy_both_ways(left, right);
            REQUIRE(copied);
            CHECK(copied->forth == question.size());
            CHECK(copied->back == 6);
        };
        auto ask = [&]() -> Task<> {
            auto sent = co_await client.send_all(question);
            CHECK(sent);
            auto finished = client.shutdown_write();
            CHECK(finished);
            auto answer = co_await client.recv();
            CHECK((answer && answer->text() == "answer"));
            auto end = co_await client.recv();
            CHECK((end && end->empty()));
        };
        auto answer = [&]() -> Task<> {
            std::vector<std::byte> got(question.size());
            auto received = co_await server.recv_exactly(got);
            CHECK(received);
            CHECK(got == question);
            auto end = co_await server.recv(); // the half-close was passed on
            CHECK((end && end->empty()));
            auto sent = co_await server.send_all("answer");
            CHECK(sent);
            auto finished = server.shutdown_write();
            CHECK(finished);
        };
        auto all = [&](TaskGroup& group) -> Task<> {
            group.spawn(forward);
            group.spawn(ask);
            group.spawn(answer);
            co_return;
        };
        auto done = co_await with_task_group(all);
        CHECK(done);
    };
    CHECK(loop->run(talk));
    check_nothing_left(*loop);
}

TEST_CASE("an error on one side ends both directions") {
    auto near = tcp_pair();
    auto far = socket_pair();
    auto talk = [&]() -> Task<> {
        TcpStream left(std::move(near.first));
        StreamSocket right(std::move(far.first));
        TcpStream client(std::move(near.second));
        client.abort();
        auto copied = co_await copy_both_ways(left, right);
        CHECK(copied.error() == std::errc::connection_reset);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("with faults that lose nothing, every byte is copied") {
    auto scenario = [](Simulation& world) -> Task<> {
        auto [client, left] = world.pair();
        auto [right, server] = world.pair();
        const std::string text(world.random(20'000), 'x');
        auto forward = [&]() -> Task<> {
            auto copied = co_await copy_both_ways(left, right);
            world.check(copied && copied->forth == text.size() && copied->back == text.size(),
                        "all was copied");
        };
        auto ask = [&]() -> Task<> {
            auto sent = co_await client.send_all(text);
            world.check(static_cast<bool>(sent), "sent");
            auto finished = client.shutdown_write();
            world.check(static_cast<bool>(finished), "finished");
        };
        auto receive = [&]() -> Task<> {
            std::size_t got = 0;
            for (;;) {
                auto chunk = co_await client.recv();
                if (!chunk || chunk->empty()) break;
                got += chunk->size();
            }
            world.check(got == text.size(), "all came back");
        };
        auto echo = [&]() -> Task<> {
            std::uint64_t count = 0;
            auto done = co_await copy_bytes(server, server, count);
            world.check(static_cast<bool>(done), "echoed");
            auto finished = server.shutdown_write();
            world.check(static_cast<bool>(finished), "the echo ended");
        };
        auto all = [&](TaskGroup& group) -> Task<> {
            group.spawn(forward);
            group.spawn(ask);
            group.spawn(receive);
            group.spawn(echo);
            co_return;
        };
        auto done = co_await with_task_group(all);
        world.check(static_cast<bool>(done), "all ended");
    };
    auto report = simulate({.seeds = 300, .faults = FaultSet::harmless()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}
