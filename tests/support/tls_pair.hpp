#pragma once

// Both ends of TLS connections, with generated certificates.

#include "certificates.hpp"
#include "net.hpp"
#include "stream_cases.hpp"

#include <ringlet/tls.hpp>

#include <string>
#include <utility>

namespace ringlet::testing {

/// A server for localhost, and a client that trusts it.
struct Contexts {
    CertificateFolder folder;
    TlsCertificate certificate = folder.make("server", {.names = "DNS:localhost"});
    TlsContext server = make_server();
    TlsContext client = make_client();

    [[nodiscard]] TlsServerOptions server_options() const {
        TlsServerOptions options;
        options.certificates = {certificate};
        return options;
    }
    [[nodiscard]] TlsClientOptions client_options() const {
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

inline Contexts& contexts() {
    static Contexts made;
    return made;
}

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

/// The same with other options: the result of the handshake on both sides.
struct BothSides {
    Result<TlsStream> client;
    Result<TlsStream> server;
    std::string client_cause;
    std::string server_cause;
};

inline Task<BothSides> both_sides(Pair<StreamSocket> below, TlsContext client, TlsContext server,
                                  std::string host = "localhost") {
    std::string client_cause;
    std::string server_cause;
    auto [connected, accepted] = co_await when_all(
        TlsStream::connect(std::move(below.first), std::move(client), std::move(host),
                           &client_cause),
        TlsStream::accept(std::move(below.second), std::move(server), &server_cause));
    BothSides both{std::move(connected), std::move(accepted), std::move(client_cause),
                   std::move(server_cause)};
    co_return both;
}

inline Pair<StreamSocket> sockets() {
    auto fds = tcp_pair();
    return {StreamSocket(std::move(fds.first)), StreamSocket(std::move(fds.second))};
}

} // namespace ringlet::testing
