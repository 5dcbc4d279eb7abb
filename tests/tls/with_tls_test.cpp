#include <ringlet/with_tls.hpp>

#include "echo.hpp"
#include "serving_thread.hpp"
#include "tls_pair.hpp"

#include <ringlet/connect_tls.hpp>

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("a server completes handshakes, serves, counts failures, and reports why") {
    std::mutex mutex;
    std::vector<std::string> lines;
    auto options = contexts().server_options();
    options.report = [&](std::string_view line) {
        const std::lock_guard lock(mutex);
        lines.emplace_back(line);
    };
    auto context = TlsContext::server(options);
    REQUIRE(context);
    for (const std::size_t workers : {1U, 2U}) {
        lines.clear();
        auto serving = quiet_options();
        serving.workers = workers;
        WorkersThread server(serving, with_tls(*context, echo_all<TlsStream>));
        auto talk = [&]() -> Task<> {
            const std::string address = "localhost:" + std::to_string(server.address().port());
            ConnectTlsOptions connecting;
            connecting.context = &contexts().client;
            for (int round = 0; round < 5; ++round) {
                auto stream = co_await connect_tls(address, connecting);
                CHECK(stream);
                if (!stream) co_return;
                auto sent = co_await stream->send_all("hello");
                CHECK(sent);
                auto chunk = co_await stream->recv();
                CHECK((chunk && chunk->text() == "hello"));
                auto finished = stream->shutdown_write();
                CHECK(finished);
                chunk = co_await stream->recv();
                CHECK_MESSAGE((chunk && chunk->empty()), chunk.error().message());
            }
            auto plain = co_await TcpStream::connect(server.address());
            CHECK(plain);
            if (!plain) co_return;
            auto sent = co_await plain->send_all("GET / HTTP/1.0\r\n\r\n");
            CHECK(sent);
            auto chunk = co_await plain->recv(); // a TLS alert
            CHECK(chunk);
            std::string causes;
            connecting.causes = &causes;
            connecting.server_name = "elsewhere.example";
            auto refused = co_await connect_tls(address, connecting);
            CHECK(refused.error() == TlsErrc::wrong_host);
            CHECK(causes.find("is for localhost, not for elsewhere.example") != std::string::npos);
            connecting.context = nullptr; // the system's authorities, which do not include ours
            connecting.server_name = nullptr;
            refused = co_await connect_tls(address, connecting);
            CHECK(refused.error() == TlsErrc::certificate_untrusted);
        };
        CHECK(run_on_loop(talk));
        server.stop();
        const ServeReport report = server.finish();
        CHECK(report.accepted_count == 8);
        CHECK(report.failed_count == 3);
        REQUIRE(lines.size() == 3);
        int of_http = 0;
        for (const std::string& line : lines) {
            CHECK(line.find("TLS with 127.0.0.1:") == 0);
            if (line.find("http://") != std::string::npos) ++of_http;
        }
        CHECK(of_http == 1);
    }
}

TEST_CASE("everything that a handler sent arrives, even if it just drops the stream") {
    const auto body = pattern(3'000'000);
    const auto answer = [&body](TlsStream stream) -> Task<Result<void>> {
        auto sent = co_await stream.send_all(body);
        co_return sent; // and drops the stream
    };
    auto context = contexts().server;
    ServerThread server(quiet_options(), with_tls(context, answer));
    auto talk = [&]() -> Task<> {
        auto below = co_await TcpStream::connect(server.address());
        CHECK(below);
        if (!below) co_return;
        TlsContext client = contexts().client;
        auto stream =
            co_await TlsStream::connect(std::move(*below), std::move(client), "localhost");
        CHECK(stream);
        if (!stream) co_return;
        auto slept = co_await sleep_for(20ms); // a slow reader
        CHECK(slept);
        std::vector<std::byte> got;
        for (;;) {
            auto chunk = co_await stream->recv();
            CHECK_MESSAGE(chunk, chunk.error().message());
            if (!chunk || chunk->empty()) break;
            got.insert(got.end(), chunk->begin(), chunk->end());
        }
        CHECK(got == body);
    };
    CHECK(run_on_loop(talk));
    server.stop();
    CHECK(server.finish().failed_count == 0);
}

TEST_CASE(
    "behind a proxy that forwards TLS, the PROXY header comes first and reports name the client") {
    std::vector<std::string> lines;
    auto options = contexts().server_options();
    options.report = [&lines](std::string_view line) { lines.emplace_back(line); };
    auto context = TlsContext::server(options);
    REQUIRE(context);
    const auto tell_peer = [](TlsStream stream) -> Task<Result<void>> {
        auto peer = stream.below().peer();
        if (!peer) co_return peer.error();
        const std::string answer = peer->to_string();
        auto sent = co_await stream.send_all(answer);
        co_return sent;
    };
    ProxyOptions proxies{.trusted = {"127.0.0.1"}};
    ServerThread server(quiet_options(),
                        with_proxy_protocol(proxies, with_tls(*context, tell_peer)));
    auto talk = [&]() -> Task<> {
        auto below = co_await TcpStream::connect(server.address());
        CHECK(below);
        if (!below) co_return;
        auto sent = co_await below->send_all("PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n");
        CHECK(sent);
        TlsContext client = contexts().client;
        auto stream =
            co_await TlsStream::connect(std::move(*below), std::move(client), "localhost");
        CHECK_MESSAGE(stream, stream.error().message());
        if (!stream) co_return;
        auto chunk = co_await stream->recv();
        CHECK((chunk && chunk->text() == "192.0.2.1:1000"));
        auto plain = co_await TcpStream::connect(server.address());
        CHECK(plain);
        if (!plain) co_return;
        sent = co_await plain->send_all("PROXY TCP4 192.0.2.1 192.0.2.2 1001 443\r\nno TLS at all");
        CHECK(sent);
        auto alert = co_await plain->recv();
        CHECK(alert);
    };
    CHECK(run_on_loop(talk));
    server.stop();
    CHECK(server.finish().failed_count == 1);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("TLS with 192.0.2.1:1001") == 0);
}

TEST_CASE("serve reports a certificate that cannot be read") {
    std::vector<std::string> lines;
    TlsServeOptions options;
    options.serve = quiet_options();
    options.serve.loop.report = [&lines](std::string_view line) { lines.emplace_back(line); };
    options.tls.certificates = {{"/nowhere/chain.pem", "/nowhere/key.pem"}};
    auto report = serve(options, echo_all<TlsStream>);
    CHECK(report.error() == TlsErrc::unreadable_file);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("'/nowhere/chain.pem': No such file or directory") != std::string::npos);
}

// Waiting handshakes run one at a time, and connections that are already served run between any two of them.
TEST_CASE("a storm of handshakes does not hold up clients that are being served") {
    auto options = contexts().server_options();
    options.handshakes_at_once = 8;
    auto context = TlsContext::server(options);
    REQUIRE(context);
    auto talk = [&]() -> Task<> {
        auto served = co_await tls_over<StreamSocket>(sockets());
        auto& [client, server] = *served;
        constexpr int handshakes = 60;
        int ended = 0;
        int echoes = 0;
        auto serve_it = [&]() -> Task<> { co_await echo_all(std::move(server)); };
        auto ask = [&]() -> Task<> {
            while (ended < handshakes) {
                auto sent = co_await client.send_all("ping");
                CHECK(sent);
                auto chunk = co_await client.recv();
                CHECK(chunk);
                ++echoes;
            }
            auto closed = co_await client.close();
            CHECK(closed);
        };
        auto handler = with_tls(*context, echo_all<TlsStream>);
        auto storm = [&](TaskGroup& group) -> Task<> {
            group.spawn(serve_it);
            group.spawn(ask);
            for (int i = 0; i < handshakes; ++i) {
                auto [one, other] = sockets();
                group.spawn("server", std::ref(handler), std::move(other));
                auto knock = [&ended](StreamSocket below) -> Task<> {
                    TlsContext trusting = contexts().client;
                    auto stream = co_await TlsStream::connect(std::move(below), std::move(trusting),
                                                              "localhost");
                    CHECK_MESSAGE(stream, stream.error().message());
                    ++ended;
                };
                group.spawn("client", knock, std::move(one));
            }
            co_return;
        };
        auto done = co_await with_task_group(storm);
        CHECK(done);
        CHECK(ended == handshakes);
        // A handshake has two steps on each side, and an echo takes a few turns.
        CHECK_MESSAGE(echoes >= handshakes / 3, echoes);
    };
    CHECK(run_on_loop(talk));
}
