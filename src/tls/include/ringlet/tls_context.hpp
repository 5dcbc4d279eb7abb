#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>
#include <ringlet/tls_error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace RINGLET_EXPORT ringlet {

class TlsEngine;

enum class TlsVersion : std::uint8_t { tls_1_2, tls_1_3 };

/// What encrypts, and the versions that are spoken unless others are asked for, in a line.
[[nodiscard]] std::string tls_description();

/// A certificate with its chain, the own one first, and its key: paths of PEM files, which may be the same.
struct TlsCertificate {
    std::string chain_file;
    std::string key_file;
};

/// What a server wants of its clients' certificates.
enum class ClientCertificates : std::uint8_t {
    ignored,   ///< none is asked for
    asked_for, ///< a client may have none; one that it has must be good
    required,  ///< a client without a good one is refused
};

/// What both sides may choose. The defaults are those that fit nearly everybody.
struct TlsOptions {
    TlsVersion oldest = TlsVersion::tls_1_2;
    TlsVersion newest = TlsVersion::tls_1_3;
    /// Application protocols (ALPN), the preferred one first: "h2", "http/1.1". None: they are not spoken of.
    std::vector<std::string> protocols = {};
    /// A handshake that takes longer ends with `timed_out`.
    std::chrono::milliseconds handshake_timeout{10'000};
    /// How long `close` waits for the goodbye to go out.
    std::chrono::milliseconds close_timeout{1'000};
    /// An end without a goodbye (close_notify) is an end like any other, instead of `truncated`. Only for protocols
    /// that tell themselves where a message ends.
    bool allow_truncation = false;
    /// The longest record that is sent, in bytes: 512 to 16,384. Short ones can be read earlier by the peer.
    std::size_t record_limit_bytes = 16'384;
    /// Certificates between the peer's and the authority.
    int chain_limit = 10;
    /// Gets the keys of all connections, for a debugger of protocols (Wireshark): never in production.
    std::string key_log_file = {};
    /// Gets a line that says what is wrong with these options, or what an operator should know of them. Used while
    /// the context is made.
    std::string* causes = nullptr;
};

/// How a server speaks TLS.
struct TlsServerOptions : TlsOptions {
    /// The first one is for clients that name no host, or an unknown one. Of the others, that whose names have the
    /// host that the client asks for (SNI); `*.example.org` stands for one label.
    std::vector<TlsCertificate> certificates = {};
    ClientCertificates client_certificates = ClientCertificates::ignored;
    /// A PEM file of those who may sign them.
    std::string client_authorities = {};
    /// Clients that come again need no full handshake (session tickets).
    bool resumption = true;
    /// Handshakes at once, on each thread that serves; further ones wait, within their timeout.
    std::size_t handshakes_at_once = 256;
    /// Gets a line for each handshake that failed. Null: they are only counted.
    std::function<void(std::string_view line)> report = {};
};

/// How a client speaks TLS.
struct TlsClientOptions : TlsOptions {
    /// A PEM file of those whose signatures are trusted. Empty: those that the system trusts.
    std::string authorities = {};
    /// False: whoever answers is believed to be the server. Only for tests.
    bool verify = true;
    /// Ours, for servers that ask for one.
    TlsCertificate certificate = {};
    /// Keeps what servers give for coming again, for up to `remembered_limit` of them.
    bool resumption = true;
    static constexpr std::size_t remembered_limit = 256;
};

/// Certificates, keys and settings, shared by all connections that are made with them.
///
/// Lifetime  Copies are the same context. Connections keep what they began with, also after `reload`.
/// Thread    Any.
class TlsContext {
public:
    /// Reads the files.
    ///
    /// Errors    `unreadable_file`, `key_mismatch`, `invalid_option`; `TlsOptions::causes` says more.
    static Result<TlsContext> server(TlsServerOptions options);
    static Result<TlsContext> client(TlsClientOptions options = {});

    /// Reads all files again: for new connections. If one is wrong, everything stays as it was. Clients that come again
    /// with a ticket are known still, unless certificates of clients are asked for.
    ///
    /// Errors    As `server`; `cause`, if there is one, gets a line that says more.
    Result<void> reload(std::string* cause = nullptr);

    [[nodiscard]] const TlsOptions& options() const noexcept;
    /// Those of a server; null of a client.
    [[nodiscard]] const TlsServerOptions* server_options() const noexcept;

    // For the streams.
    class State;
    [[nodiscard]] const std::shared_ptr<State>& state() const noexcept { return state_; }

private:
    explicit TlsContext(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

    std::shared_ptr<State> state_;
};

} // namespace ringlet
