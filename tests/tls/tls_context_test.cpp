#include <ringlet/tls_context.hpp>

#include "tls_pair.hpp"

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

std::string text_of_file(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

/// Runs a handshake, and passes both results to `look`.
template <class Look>
void try_both(const TlsContext& client, const TlsContext& server, const std::string& host,
              Look look) {
    auto talk = [&]() -> Task<> {
        auto both = co_await both_sides(sockets(), client, server, host);
        look(both);
    };
    CHECK(run_on_loop(talk));
    CHECK(Buffer::lent_count() == 0);
}

TlsContext server_of(const TlsCertificate& certificate) {
    TlsServerOptions options;
    options.certificates = {certificate};
    auto context = TlsContext::server(options);
    REQUIRE(context);
    return *context;
}

} // namespace

// ---- files --------------------------------------------------------------------------------------

TEST_CASE("a context reports what is wrong with its files and options") {
    const CertificateFolder& folder = contexts().folder;
    const auto other = folder.make("other", {.names = "DNS:other"});
    const auto expired = folder.make("expired-own", {.names = "DNS:old.example", .days_to = -1});
    struct Wrong {
        TlsCertificate certificate;
        TlsErrc error;
        std::string text;
    };
    const Wrong wrongs[] = {
        {{folder.path("none.pem"), other.key_file},
         TlsErrc::unreadable_file,
         "the certificate cannot be read from '" + folder.path("none.pem") +
             "': No such file or directory"},
        {{other.key_file, other.key_file}, TlsErrc::unreadable_file, "it is no PEM file with one"},
        {{other.chain_file, folder.path("none.key")},
         TlsErrc::unreadable_file,
         "the key cannot be read from '" + folder.path("none.key") + "'"},
        {{other.chain_file, contexts().certificate.key_file},
         TlsErrc::key_mismatch,
         "does not fit the certificate of other in '" + other.chain_file + "'"},
    };
    for (const auto& [certificate, error, text] : wrongs) {
        std::string cause;
        TlsServerOptions options;
        options.certificates = {certificate};
        options.causes = &cause;
        auto context = TlsContext::server(options);
        CHECK(context.error() == error);
        CHECK_MESSAGE(cause.find(text) != std::string::npos, cause);
    }
    std::string cause;
    TlsServerOptions options;
    options.causes = &cause;
    CHECK(TlsContext::server(options).error() == TlsErrc::invalid_option);
    CHECK(cause.find("needs a certificate") != std::string::npos);
    options.certificates = {expired};
    CHECK(TlsContext::server(options));
    CHECK_MESSAGE(cause.find("the certificate of old.example") != std::string::npos, cause);
    CHECK(cause.find("expired on 20") != std::string::npos);
    options.record_limit_bytes = 100;
    CHECK(TlsContext::server(options).error() == TlsErrc::invalid_option);
    options.record_limit_bytes = 16'384;
    options.protocols = {""};
    CHECK(TlsContext::server(options).error() == TlsErrc::invalid_option);
    options.protocols = {};
    options.client_certificates = ClientCertificates::required;
    CHECK(TlsContext::server(options).error() == TlsErrc::invalid_option);
    options.client_certificates = ClientCertificates::ignored;
    options.oldest = TlsVersion::tls_1_3;
    options.newest = TlsVersion::tls_1_2;
    CHECK(TlsContext::server(options).error() == TlsErrc::invalid_option);
    TlsClientOptions of_client;
    of_client.authorities = folder.path("none.pem");
    CHECK(TlsContext::client(of_client).error() == TlsErrc::unreadable_file);
}

TEST_CASE("a reload affects only new connections, and a failed one changes nothing") {
    const CertificateFolder folder;
    const auto files = folder.make("server", {.names = "DNS:before"});
    auto server = server_of(files);
    TlsClientOptions options;
    options.authorities = folder.path("authority.pem");
    options.verify = false;
    options.resumption = false;
    auto client = TlsContext::client(options);
    REQUIRE(client);
    const auto name = [&] {
        std::string seen;
        try_both(*client, server, "", [&](BothSides& both) {
            if (both.client) seen = both.client->peer_name();
        });
        return seen;
    };
    CHECK(name() == "before");
    auto talk = [&]() -> Task<> { // a connection outlives the certificate it began with
        auto both = co_await both_sides(sockets(), *client, server, "");
        CHECK((both.client && both.server));
        if (!both.client || !both.server) co_return;
        folder.make("server", {.names = "DNS:after"});
        CHECK(server.reload());
        auto sent = co_await both.server->send_all("as before");
        CHECK(sent);
        auto chunk = co_await both.client->recv();
        CHECK((chunk && chunk->text() == "as before"));
    };
    CHECK(run_on_loop(talk));
    CHECK(name() == "after");
    std::ofstream(files.key_file) << "nonsense";
    std::string cause;
    CHECK(server.reload(&cause).error() == TlsErrc::unreadable_file);
    CHECK(cause.find(files.key_file) != std::string::npos);
    CHECK(name() == "after");
}

// ---- certificates of servers --------------------------------------------------------------------

TEST_CASE("a client refuses a bad server certificate, and says what is wrong with it") {
    const CertificateFolder& folder = contexts().folder;
    const CertificateFolder stranger;
    struct Wrong {
        TlsCertificate certificate;
        std::string host;
        TlsErrc error;
        std::string text;
    };
    const Wrong wrongs[] = {
        {folder.make("expired", {.names = "DNS:localhost", .days_from = -10, .days_to = -2}),
         "localhost", TlsErrc::certificate_expired, "the certificate of localhost expired on 20"},
        {folder.make("early", {.names = "DNS:localhost", .days_from = 5}), "localhost",
         TlsErrc::certificate_not_yet_valid, "is the clock right?"},
        {folder.make("elsewhere", {.names = "DNS:a.example,DNS:b.example"}), "localhost",
         TlsErrc::wrong_host, "the certificate is for a.example, b.example, not for localhost"},
        {folder.make("number", {.names = "IP:127.0.0.2"}), "127.0.0.1", TlsErrc::wrong_host,
         "not for 127.0.0.1"},
        {stranger.make("strange", {.names = "DNS:localhost"}), "localhost",
         TlsErrc::certificate_untrusted, "is not signed by an authority trusted here"},
        {folder.write("self", Signed::make({.names = "DNS:localhost"})), "localhost",
         TlsErrc::certificate_untrusted, "self-signed"},
    };
    for (const auto& [certificate, host, error, text] : wrongs) {
        const auto server = server_of(certificate);
        try_both(contexts().client, server, host, [&](BothSides& both) {
            CHECK_MESSAGE(both.client.error() == error, both.client.error().message());
            CHECK_MESSAGE(both.client_cause.find(text) != std::string::npos, both.client_cause);
            CHECK(both.server.error() == TlsErrc::certificate_refused);
        });
        auto options = contexts().client_options();
        options.verify = false;
        auto trusting = TlsContext::client(options);
        REQUIRE(trusting);
        try_both(*trusting, server, host, [&](BothSides& both) { CHECK(both.client); });
    }
    const auto by_number = server_of(folder.make("right", {.names = "IP:127.0.0.1,IP:::1"}));
    for (const char* host : {"127.0.0.1", "::1"})
        try_both(contexts().client, by_number, host, [](BothSides& both) { CHECK(both.client); });
}

TEST_CASE("a server chooses its certificate by name") {
    const CertificateFolder& folder = contexts().folder;
    TlsServerOptions options;
    options.certificates = {folder.make("first", {.names = "DNS:localhost"}),
                            folder.make("second", {.names = "DNS:a.example,DNS:*.b.example"})};
    auto server = TlsContext::server(options);
    REQUIRE(server);
    const std::pair<const char*, const char*> hosts[] = {
        {"localhost", "localhost"}, {"A.Example", "a.example"}, {"x.b.example", "a.example"}};
    for (const auto& [host, name] : hosts) {
        try_both(contexts().client, *server, host, [&](BothSides& both) {
            CHECK(both.client);
            if (both.client) CHECK(both.client->peer_name() == name);
            if (both.server) CHECK(both.server->server_name() == host);
        });
    }
    for (const char* host : {"b.example", "y.x.b.example", "unknown"}) { // get the first one
        try_both(contexts().client, *server, host, [&](BothSides& both) {
            CHECK(both.client.error() == TlsErrc::wrong_host);
            CHECK(both.client_cause.find("is for localhost") != std::string::npos);
        });
    }
}

// ---- certificates of clients --------------------------------------------------------------------

TEST_CASE("client certificates are ignored, asked for, or required") {
    const CertificateFolder& folder = contexts().folder;
    const CertificateFolder stranger;
    const auto good = folder.make("client", {.names = "DNS:somebody"});
    const auto bad = stranger.make("client", {.names = "DNS:nobody"});
    const auto with = [](const TlsCertificate& certificate) {
        auto options = contexts().client_options();
        options.certificate = certificate;
        auto context = TlsContext::client(options);
        REQUIRE(context);
        return *context;
    };
    for (const auto wanted : {ClientCertificates::ignored, ClientCertificates::asked_for,
                              ClientCertificates::required}) {
        for (const TlsVersion version : {TlsVersion::tls_1_2, TlsVersion::tls_1_3}) {
            auto options = contexts().server_options();
            options.client_certificates = wanted;
            options.client_authorities = folder.path("authority.pem");
            options.newest = version;
            auto server = TlsContext::server(options);
            REQUIRE(server);
            try_both(with(good), *server, "localhost", [&](BothSides& both) {
                CHECK(both.server);
                if (both.server) {
                    CHECK(both.server->peer_name() ==
                          (wanted == ClientCertificates::ignored ? "" : "somebody"));
                }
            });
            try_both(contexts().client, *server, "localhost", [&](BothSides& both) {
                if (wanted == ClientCertificates::required) {
                    CHECK(both.server.error() == TlsErrc::certificate_required);
                } else {
                    CHECK(both.server);
                }
            });
            try_both(with(bad), *server, "localhost", [&](BothSides& both) {
                if (wanted == ClientCertificates::ignored) {
                    CHECK(both.server);
                } else {
                    CHECK(both.server.error() == TlsErrc::certificate_untrusted);
                }
            });
        }
    }
}

TEST_CASE("a client without the required certificate gets certificate_refused") {
    auto options = contexts().server_options();
    options.client_certificates = ClientCertificates::required;
    options.client_authorities = contexts().folder.path("authority.pem");
    auto server = TlsContext::server(options);
    REQUIRE(server);
    auto talk = [&]() -> Task<> {
        auto [one, other] = sockets();
        auto accept = [&]() -> Task<> {
            auto stream = co_await TlsStream::accept(std::move(other), *server);
            CHECK(stream.error() == TlsErrc::certificate_required);
        };
        auto connect = [&]() -> Task<> {
            TlsContext client = contexts().client;
            auto stream =
                co_await TlsStream::connect(std::move(one), std::move(client), "localhost");
            CHECK(stream); // in TLS 1.3 the client finishes before the server checks
            if (!stream) co_return;
            auto sent = co_await stream->send_all("a first word");
            static_cast<void>(sent);
            auto chunk = co_await stream->recv();
            CHECK_MESSAGE(chunk.error() == TlsErrc::certificate_refused, chunk.error().message());
            CHECK(stream->failure().find("wants a certificate") != std::string::npos);
        };
        auto together = [&](TaskGroup& group) -> Task<> {
            group.spawn(accept);
            group.spawn(connect);
            co_return;
        };
        auto done = co_await with_task_group(together);
        CHECK(done);
    };
    CHECK(run_on_loop(talk));
}

// ---- what both sides choose ---------------------------------------------------------------------

TEST_CASE("versions: the newest that both allow, or a refusal that names both") {
    struct Versions {
        TlsVersion client_oldest, client_newest, server_oldest, server_newest;
        const char* chosen;
    };
    using enum TlsVersion;
    const Versions table[] = {
        {tls_1_2, tls_1_3, tls_1_2, tls_1_3, "TLSv1.3"},
        {tls_1_2, tls_1_2, tls_1_2, tls_1_3, "TLSv1.2"},
        {tls_1_2, tls_1_3, tls_1_2, tls_1_2, "TLSv1.2"},
        {tls_1_2, tls_1_2, tls_1_3, tls_1_3, nullptr},
    };
    for (const Versions& versions : table) {
        auto of_client = contexts().client_options();
        of_client.oldest = versions.client_oldest;
        of_client.newest = versions.client_newest;
        auto of_server = contexts().server_options();
        of_server.oldest = versions.server_oldest;
        of_server.newest = versions.server_newest;
        auto client = TlsContext::client(of_client);
        auto server = TlsContext::server(of_server);
        REQUIRE(client);
        REQUIRE(server);
        try_both(*client, *server, "localhost", [&](BothSides& both) {
            if (versions.chosen != nullptr) {
                CHECK((both.client && both.client->version() == versions.chosen));
                CHECK((both.server && both.server->version() == versions.chosen));
                return;
            }
            CHECK(both.client.error() == TlsErrc::version_refused);
            CHECK(both.server.error() == TlsErrc::version_refused);
            CHECK_MESSAGE(both.server_cause ==
                              "the client speaks TLS 1.2 at most, and TLS 1.3 is the oldest that "
                              "is allowed",
                          both.server_cause);
        });
    }
}

TEST_CASE("application protocols: the server's preferred one, or a refusal") {
    const auto client_with = [](std::vector<std::string> protocols) {
        auto options = contexts().client_options();
        options.protocols = std::move(protocols);
        auto context = TlsContext::client(options);
        REQUIRE(context);
        return *context;
    };
    auto options = contexts().server_options();
    options.protocols = {"h2", "http/1.1"};
    auto server = TlsContext::server(options);
    REQUIRE(server);
    try_both(client_with({"http/1.1", "h2"}), *server, "localhost", [](BothSides& both) {
        CHECK((both.client && both.client->protocol() == "h2"));
        CHECK((both.server && both.server->protocol() == "h2"));
    });
    try_both(client_with({"spdy", "http/1.1"}), *server, "localhost", [](BothSides& both) {
        CHECK((both.client && both.client->protocol() == "http/1.1"));
    });
    try_both(client_with({}), *server, "localhost",
             [](BothSides& both) { CHECK((both.client && both.client->protocol().empty())); });
    try_both(client_with({"irc"}), *server, "localhost", [](BothSides& both) {
        CHECK(both.client.error() == TlsErrc::no_common_protocol);
        CHECK(both.server.error() == TlsErrc::no_common_protocol);
    });
}

// The server sends something, because the ticket comes with it.
bool second_is_resumed(const TlsContext& client, const TlsContext& server) {
    bool resumed = false;
    auto talk = [&]() -> Task<> {
        for (int round = 0; round < 2; ++round) {
            auto both = co_await both_sides(sockets(), client, server);
            CHECK((both.client && both.server));
            if (!both.client || !both.server) co_return;
            auto sent = co_await both.server->send_all("welcome");
            CHECK(sent);
            auto chunk = co_await both.client->recv();
            CHECK(chunk);
            CHECK(both.client->was_resumed() == both.server->was_resumed());
            resumed = both.server->was_resumed();
            auto closed = co_await both.client->close();
            CHECK(closed);
        }
    };
    CHECK(run_on_loop(talk));
    return resumed;
}

TEST_CASE("a second connection resumes the session, unless one side disables that") {
    for (const TlsVersion version : {TlsVersion::tls_1_2, TlsVersion::tls_1_3}) {
        for (const bool server_wants : {true, false}) {
            for (const bool client_wants : {true, false}) {
                auto of_server = contexts().server_options();
                of_server.newest = version;
                of_server.resumption = server_wants;
                auto of_client = contexts().client_options();
                of_client.resumption = client_wants;
                auto client = TlsContext::client(of_client);
                auto server = TlsContext::server(of_server);
                REQUIRE(client);
                REQUIRE(server);
                CHECK(second_is_resumed(*client, *server) == (server_wants && client_wants));
                if (server_wants && client_wants) {
                    CHECK(server->reload()); // issued tickets stay valid
                    CHECK(second_is_resumed(*client, *server));
                }
            }
        }
    }
}

TEST_CASE("a ticket survives a reload, unless the server asks for client certificates") {
    for (const auto wanted : {ClientCertificates::ignored, ClientCertificates::asked_for}) {
        auto options = contexts().server_options();
        options.client_certificates = wanted;
        options.client_authorities = contexts().folder.path("authority.pem");
        auto server = TlsContext::server(options);
        auto client = TlsContext::client(contexts().client_options());
        REQUIRE(server);
        REQUIRE(client);
        const auto is_resumed = [&] {
            bool resumed = false;
            auto talk = [&]() -> Task<> {
                auto both = co_await both_sides(sockets(), *client, *server);
                CHECK((both.client && both.server));
                if (!both.client || !both.server) co_return;
                resumed = both.server->was_resumed();
                auto sent = co_await both.server->send_all("a ticket comes with it");
                CHECK(sent);
                auto chunk = co_await both.client->recv();
                CHECK(chunk);
            };
            CHECK(run_on_loop(talk));
            return resumed;
        };
        CHECK_FALSE(is_resumed());
        CHECK(is_resumed());
        CHECK(server->reload());
        CHECK(is_resumed() == (wanted == ClientCertificates::ignored));
    }
}

TEST_CASE("keys are logged for a debugger on request") {
    auto options = contexts().server_options();
    options.key_log_file = contexts().folder.path("keys.log");
    auto server = TlsContext::server(options);
    REQUIRE(server);
    try_both(contexts().client, *server, "localhost", [](BothSides& both) { CHECK(both.client); });
    CHECK(text_of_file(options.key_log_file).find("CLIENT_TRAFFIC_SECRET_0 ") != std::string::npos);
}

// ---- not TLS ------------------------------------------------------------------------------------

TEST_CASE("input that is not TLS is recognised, and the cause says so") {
    struct Foreign {
        std::string bytes;
        TlsErrc error;
        std::string text;
    };
    const Foreign table[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", TlsErrc::not_tls, "http://"},
        {"SSH-2.0-OpenSSH_9.2\r\n", TlsErrc::not_tls, "what came is no TLS"},
        {std::string(100, '\0'), TlsErrc::not_tls, "what came is no TLS"},
        {"", TlsErrc::handshake_failed, "closed the connection during the handshake"},
    };
    for (const auto& [bytes, error, text] : table) {
        auto talk = [&]() -> Task<> {
            auto [client, below] = sockets();
            auto sent = co_await client.send_all(bytes);
            CHECK(sent);
            auto finished = client.shutdown_write();
            CHECK(finished);
            std::string cause;
            TlsContext server = contexts().server;
            auto stream = co_await TlsStream::accept(std::move(below), std::move(server), &cause);
            CHECK_MESSAGE(stream.error() == error, stream.error().message());
            CHECK_MESSAGE(cause.find(text) != std::string::npos, cause);
        };
        CHECK(run_on_loop(talk));
    }
}
