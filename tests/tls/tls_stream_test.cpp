#include <ringlet/tls.hpp>

#include "certificates.hpp"
#include "net.hpp"
#include "stream_cases.hpp"

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

struct Contexts {
    CertificateFolder folder;
    TlsCertificate certificate = folder.make("server", {.names = "DNS:localhost"});
    TlsContext server = make_server();
    TlsContext client = make_client();

    TlsServerOptions server_options() {
        TlsServerOptions options;
        options.certificates = {certificate};
        return options;
    }
    TlsClientOptions client_options() {
        TlsClientOptions options;
        options.authorities = folder.path("authority.pem");
        return options;
    }
    TlsContext make_server() {
        auto context = TlsContext::server(server_options());
        REQUIRE(context);
        return *context;
    }
    TlsContext make_client() {
        auto context = TlsContext::client(client_options());
        REQUIRE(context);
        return *context;
    }
};

Contexts& contexts() {
    static Contexts made;
    return made;
}

struct TlsPair {
    TlsStream client;
    TlsStream server;
};

Task<Result<TlsPair>> shake_hands(StreamSocket client, StreamSocket server) {
    auto [connected, accepted] =
        co_await when_all(TlsStream::connect(std::move(client), contexts().client, "localhost"),
                          TlsStream::accept(std::move(server), contexts().server));
    if (!connected) co_return connected.error();
    if (!accepted) co_return accepted.error();
    TlsPair pair;
    pair.client = std::move(*connected);
    pair.server = std::move(*accepted);
    co_return pair;
}

Task<> echo(TlsStream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;
        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

} // namespace

TEST_CASE("a handler of TCP runs unchanged through TLS") {
    auto fds = socket_pair();
    auto talk = [&]() -> Task<> {
        auto pair = co_await shake_hands(StreamSocket(std::move(fds.first)),
                                         StreamSocket(std::move(fds.second)));
        CHECK(pair);
        if (!pair) co_return;
        CHECK(pair->client.version() == "TLSv1.3");
        CHECK(pair->server.server_name() == "localhost");
        CHECK(pair->client.peer_name() == "localhost");
        TlsStream client = std::move(pair->client);
        auto serve_it = [&]() -> Task<> { co_await echo(std::move(pair->server)); };
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

template <ByteStream Below>
Task<Result<Pair<BasicTlsStream<Below>>>> tls_over(Pair<Below> below) {
    using Stream = BasicTlsStream<Below>;
    auto [connected, accepted] =
        co_await when_all(Stream::connect(std::move(below.first), contexts().client, "localhost"),
                          Stream::accept(std::move(below.second), contexts().server));
    if (!connected) co_return connected.error();
    if (!accepted) co_return accepted.error();
    co_return Pair<Stream>(std::move(*connected), std::move(*accepted));
}

template <ByteStream Below, class Make>
void try_all_over(Make make) {
    using Stream = BasicTlsStream<Below>;
    for (const auto& one_case : stream_cases<Stream>) {
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

Pair<StreamSocket> sockets() {
    auto fds = tcp_pair();
    return {StreamSocket(std::move(fds.first)), StreamSocket(std::move(fds.second))};
}

Pair<AnyStream> any_streams() {
    auto [one, other] = sockets();
    return {AnyStream(std::move(one)), AnyStream(std::move(other))};
}

} // namespace

TEST_CASE("TLS keeps the contract of streams: over sockets") {
    try_all_over<StreamSocket>(sockets);
}

TEST_CASE("TLS keeps the contract of streams: over streams that cannot say what they have sent") {
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
        auto report = simulate({.seeds = 100, .faults = FaultSet::harmless()}, scenario);
        CHECK_MESSAGE(report, report.to_string());
    }
}
