#include <ringlet/tls.hpp>

#include "echo.hpp"
#include "tls_pair.hpp"

#include <ringlet/testing/simulation.hpp>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

static_assert(ByteStream<TlsStream> && ByteStream<BasicTlsStream<AnyStream>>);
static_assert(ByteStream<BasicTlsStream<TlsStream>>);

} // namespace

TEST_CASE("a handler written for TCP runs unchanged over TLS") {
    auto fds = socket_pair();
    auto talk = [&]() -> Task<> {
        Pair<StreamSocket> below{StreamSocket(std::move(fds.first)),
                                 StreamSocket(std::move(fds.second))};
        auto pair = co_await tls_over<StreamSocket>(std::move(below));
        CHECK(pair);
        if (!pair) co_return;
        auto& [client, server] = *pair;
        CHECK(client.version() == "TLSv1.3");
        CHECK(server.server_name() == "localhost");
        CHECK(client.peer_name() == "localhost");
        auto serve_it = [&]() -> Task<> { co_await echo_all(std::move(server)); };
        auto ask = [&]() -> Task<> {
            for (const std::size_t size : {1U, 100U, 16'384U, 16'385U, 1'000'003U}) {
                const auto bytes = pattern(size);
                std::vector<std::byte> back(size);
                auto send = [&]() -> Task<Result<void>> {
                    auto sent = co_await client.send_all(bytes);
                    co_return sent;
                };
                auto receive = [&]() -> Task<Result<void>> {
                    auto received = co_await client.recv_exactly(back);
                    co_return received;
                };
                auto [sent, received] = co_await when_all(send(), receive());
                CHECK(sent);
                CHECK(received);
                CHECK(back == bytes);
            }
            auto finished = client.shutdown_write();
            CHECK(finished);
            auto end = co_await client.recv();
            CHECK((end && end->empty()));
            auto closed = co_await client.close();
            CHECK(closed);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(serve_it);
            group.spawn(ask);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
    };
    CHECK(run_on_loop(talk));
    CHECK(Buffer::lent_count() == 0);
}

// ---- the contract of streams --------------------------------------------------------------------

namespace {

template <ByteStream Below, class Make>
void try_all_over(Make make) {
    for (const auto& one_case : stream_cases<BasicTlsStream<Below>>) {
        CAPTURE(one_case.name);
        waiting_for(one_case.name);
        auto talk = [&]() -> Task<> {
            auto below = make();
            auto pair = co_await tls_over<Below>(std::move(below));
            CHECK(pair);
            if (!pair) co_return;
            co_await one_case.run(std::move(*pair));
        };
        ReportingLoop loop;
        CHECK(loop->run(talk));
        check_nothing_left(*loop);
        CHECK(Buffer::lent_count() == 0);
    }
}

Pair<AnyStream> any_streams() {
    auto [one, other] = sockets();
    return {AnyStream(std::move(one)), AnyStream(std::move(other))};
}

} // namespace

TEST_CASE("TLS keeps the contract of streams: over sockets") {
    try_all_over<StreamSocket>(sockets);
}

TEST_CASE("TLS keeps the contract of streams: over streams that cannot say how much they sent") {
    try_all_over<AnyStream>(any_streams);
}

TEST_CASE("TLS keeps the contract of streams: within TLS") {
    for (const auto& one_case : stream_cases<BasicTlsStream<TlsStream>>) {
        CAPTURE(one_case.name);
        auto talk = [&]() -> Task<> {
            auto inner = co_await tls_over<StreamSocket>(sockets());
            CHECK(inner);
            if (!inner) co_return;
            auto outer = co_await tls_over<TlsStream>(std::move(*inner));
            CHECK(outer);
            if (!outer) co_return;
            co_await one_case.run(std::move(*outer));
        };
        CHECK(run_on_loop(talk));
        CHECK(Buffer::lent_count() == 0);
    }
}

TEST_CASE("TLS keeps the contract of streams: in the simulation, with faults that lose nothing") {
    for (const auto& one_case : stream_cases<TlsStream>) {
        CAPTURE(one_case.name);
        auto scenario = [&one_case](Simulation& world) -> Task<> {
            auto [one, other] = world.pair();
            auto pair = co_await tls_over<StreamSocket>(
                Pair<StreamSocket>(std::move(one), std::move(other)));
            CHECK(pair);
            if (!pair) co_return;
            co_await one_case.run(std::move(*pair));
        };
        auto report = simulate({.seeds = seeds(100), .faults = FaultSet::harmless()}, scenario);
        CHECK_MESSAGE(report, report.to_string());
    }
}

// ---- ends ---------------------------------------------------------------------------------------

TEST_CASE("an end without close_notify is truncated, unless allow_truncation is set") {
    for (const bool allowed : {false, true}) {
        auto options = contexts().client_options();
        options.allow_truncation = allowed;
        auto client = TlsContext::client(options);
        REQUIRE(client);
        auto talk = [&]() -> Task<> {
            auto both = co_await both_sides(sockets(), *client, contexts().server);
            CHECK(both.client);
            CHECK(both.server);
            if (!both.client || !both.server) co_return;
            auto sent = co_await both.server->send_all("all that there is");
            CHECK(sent);
            auto closed = co_await both.server->below().close();
            CHECK(closed);
            auto chunk = co_await both.client->recv();
            CHECK((chunk && chunk->text() == "all that there is"));
            auto end = co_await both.client->recv();
            if (allowed) {
                CHECK((end && end->empty()));
            } else {
                CHECK(end.error() == TlsErrc::truncated);
                CHECK(both.client->failure().find("close_notify") != std::string::npos);
            }
        };
        CHECK(run_on_loop(talk));
    }
}

TEST_CASE("after shutdown_write nothing can be sent, and what the peer sends still arrives") {
    auto talk = [&]() -> Task<> {
        auto pair = co_await tls_over<StreamSocket>(sockets());
        auto& [client, server] = *pair;
        auto finished = client.shutdown_write();
        CHECK(finished);
        finished = client.shutdown_write(); // a second call changes nothing
        CHECK(finished);
        auto refused = co_await client.send_all("too late");
        CHECK(refused.error() == std::errc::broken_pipe);
        auto end = co_await server.recv();
        CHECK((end && end->empty()));
        auto sent = co_await server.send_all("the answer");
        CHECK(sent);
        auto chunk = co_await client.recv();
        CHECK((chunk && chunk->text() == "the answer"));
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("dropping a stream sends close_notify, and cancels a receive on it") {
    auto talk = [&]() -> Task<> {
        auto pair = co_await tls_over<StreamSocket>(sockets());
        auto& [client, server] = *pair;
        std::error_code received;
        auto wait = [&]() -> Task<> {
            auto chunk = co_await client.recv();
            received = chunk.error();
        };
        auto drop = [&]() -> Task<> {
            auto slept = co_await sleep_for(2ms);
            CHECK(slept);
            TlsStream gone = std::move(client);
        };
        auto together = [&](TaskGroup& group) -> Task<> {
            group.spawn(wait);
            group.spawn(drop);
            co_return;
        };
        auto done = co_await with_task_group(together);
        CHECK(done);
        CHECK(received == std::errc::operation_canceled);
        auto end = co_await server.recv();
        CHECK((end && end->empty()));
    };
    CHECK(run_on_loop(talk));
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("close waits no longer than close_timeout for a peer that does not read") {
    auto options = contexts().server_options();
    options.close_timeout = 50ms;
    auto server = TlsContext::server(options);
    REQUIRE(server);
    auto talk = [&]() -> Task<> {
        auto both = co_await both_sides(sockets(), contexts().client, *server);
        CHECK((both.client && both.server));
        if (!both.client || !both.server) co_return;
        const auto bytes = pattern(1'000'000);
        for (;;) { // until nothing more fits
            auto sent = co_await with_timeout(50ms, both.server->send_all(bytes));
            if (!sent) break;
        }
        const auto before = Clock::now();
        auto closed = co_await both.server->close();
        CHECK(closed);
        CHECK(Clock::now() - before < 30s);
    };
    CHECK(run_on_loop(talk));
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("a client that only writes and closes causes no reset") {
    auto talk = [&]() -> Task<> {
        for (int round = 0; round < 20; ++round) {
            auto pair = co_await tls_over<StreamSocket>(sockets());
            auto& [client, server] = *pair;
            auto write = [&]() -> Task<> {
                auto sent = co_await client.send_all("a line for the log");
                CHECK(sent);
                auto closed = co_await client.close();
                CHECK(closed);
            };
            auto read = [&]() -> Task<> {
                std::string got;
                for (;;) {
                    auto chunk = co_await server.recv();
                    CHECK_MESSAGE(chunk, chunk.error().message());
                    if (!chunk || chunk->empty()) break;
                    got += chunk->text();
                }
                CHECK(got == "a line for the log");
                auto closed = co_await server.close();
                CHECK(closed);
            };
            auto together = [&](TaskGroup& group) -> Task<> {
                group.spawn(write);
                group.spawn(read);
                co_return;
            };
            auto done = co_await with_task_group(together);
            CHECK(done);
        }
    };
    CHECK(run_on_loop(talk));
}

// ---- cancellation -------------------------------------------------------------------------------

TEST_CASE("a send cancelled within a record continues with the next send, or breaks the stream and "
          "says so") {
    const auto bytes = pattern(4'000'000);
    auto talk = [&]<class Below>(Pair<Below> below) -> Task<> {
        auto pair = co_await tls_over<Below>(std::move(below));
        CHECK(pair);
        if (!pair) co_return;
        auto& [client, server] = *pair;
        auto cancelled = co_await with_timeout(20ms, client.send_all(bytes));
        CHECK(cancelled.error() == std::errc::timed_out); // the peer does not read
        const std::size_t sent_bytes = client.last_sent_bytes();
        CHECK((sent_bytes > 0 && sent_bytes < bytes.size()));
        auto go_on = [&]() -> Task<> {
            auto sent = co_await client.send_all(std::span(bytes).subspan(sent_bytes));
            if constexpr (std::same_as<Below, StreamSocket>) {
                CHECK(sent);
            } else {
                CHECK(sent.error() == TlsErrc::broken);
            }
            auto closed = co_await client.close();
            CHECK(closed);
        };
        auto read = [&]() -> Task<> {
            std::vector<std::byte> got;
            for (;;) {
                auto chunk = co_await server.recv();
                if (!chunk || chunk->empty()) break;
                got.insert(got.end(), chunk->begin(), chunk->end());
            }
            CHECK(got.size() <= bytes.size());
            CHECK(std::equal(got.begin(), got.end(), bytes.begin()));
            if constexpr (std::same_as<Below, StreamSocket>) CHECK(got.size() == bytes.size());
        };
        auto together = [&](TaskGroup& group) -> Task<> {
            group.spawn(go_on);
            group.spawn(read);
            co_return;
        };
        auto done = co_await with_task_group(together);
        CHECK(done);
    };
    auto over_sockets = [&]() -> Task<> { co_await talk(sockets()); };
    CHECK(run_on_loop(over_sockets));
    auto over_any = [&]() -> Task<> { co_await talk(any_streams()); };
    CHECK(run_on_loop(over_any));
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("a send in a cancelled scope encrypts nothing") {
    auto talk = [&]() -> Task<> {
        auto pair = co_await tls_over<StreamSocket>(sockets());
        auto& [client, server] = *pair;
        auto late = [&]() -> Task<> {
            auto slept = co_await sleep_for(1h);
            CHECK(!slept);
            auto sent = co_await client.send_all("never");
            CHECK(sent.error() == std::errc::operation_canceled);
            CHECK(client.last_sent_bytes() == 0);
            auto chunk = co_await client.recv();
            CHECK(chunk.error() == std::errc::operation_canceled);
        };
        auto timed_out = co_await with_timeout(1ms, late);
        CHECK(!timed_out);
        auto sent = co_await client.send_all("first");
        CHECK(sent);
        auto chunk = co_await server.recv();
        CHECK((chunk && chunk->text() == "first"));
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a handshake that takes too long ends with timed_out") {
    auto options = contexts().server_options();
    options.handshake_timeout = 20ms;
    auto server = TlsContext::server(options);
    REQUIRE(server);
    auto talk = [&]() -> Task<> {
        auto [silent, below] = sockets();
        std::string cause;
        auto stream = co_await TlsStream::accept(std::move(below), *server, &cause);
        CHECK(stream.error() == std::errc::timed_out);
        CHECK(cause.find("timed out") != std::string::npos);
        auto end = co_await silent.recv();
        CHECK((!end || end->empty()));
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a waiting connection holds no buffer") {
    auto talk = [&]() -> Task<> {
        auto pair = co_await tls_over<StreamSocket>(sockets());
        auto& [client, server] = *pair;
        auto serve_it = [&]() -> Task<> { co_await echo_all(std::move(server)); };
        auto ask = [&]() -> Task<> {
            auto sent = co_await client.send_all("ping");
            CHECK(sent);
            auto chunk = co_await client.recv();
            CHECK(chunk);
            chunk = Buffer();
            auto slept = co_await sleep_for(5ms);
            CHECK(slept);
            CHECK(Buffer::lent_count() == 0);
            auto closed = co_await client.close();
            CHECK(closed);
        };
        auto together = [&](TaskGroup& group) -> Task<> {
            group.spawn(serve_it);
            group.spawn(ask);
            co_return;
        };
        auto done = co_await with_task_group(together);
        CHECK(done);
    };
    CHECK(run_on_loop(talk));
}
