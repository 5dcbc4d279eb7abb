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

/// One line that names the TLS library and the protocol versions it speaks by default.
[[nodiscard]] std::string tls_description();

/// A certificate chain, leaf first, and its private key: paths of PEM files, which may be the same file.
struct TlsCertificate {
    std::string chain_file;
    std::string key_file;
};

/// What a server asks of its clients' certificates.
enum class ClientCertificates : std::uint8_t {
    ignored,   ///< not requested
    asked_for, ///< optional, but one that is sent must be valid
    required,  ///< a client without a valid one is refused
};

/// Options of both sides. The defaults suit nearly every program.
struct TlsOptions {
    TlsVersion oldest = TlsVersion::tls_1_2;
    TlsVersion newest = TlsVersion::tls_1_3;
    /// Application protocols (ALPN), in order of preference: "h2", "http/1.1". Empty: ALPN is not used.
    std::vector<std::string> protocols = {};
    /// A handshake that takes longer ends with `timed_out`.
    std::chrono::milliseconds handshake_timeout{10'000};
    /// How long `close` waits for the goodbye (close_notify) to be sent.
    std::chrono::milliseconds close_timeout{1'000};
    /// Treats an end without a goodbye (close_notify) as a normal end instead of `truncated`. Only for protocols that
    /// mark the end of a message themselves.
    bool allow_truncation = false;
    /// The longest record to send, in bytes: 512 to 16,384. The peer can start reading short records earlier.
    std::size_t record_limit_bytes = 16'384;
    /// The number of certificates allowed between the peer's and the authority's.
    int chain_limit = 10;
    /// A file that receives the keys of all connections, for a protocol analyser (Wireshark). Never in production.
    std::string key_log_file = {};
    /// Receives a line that says what is wrong with these options, or what an operator should know about them. Used
    /// only while the context is made.
    std::string* causes = nullptr;
};

/// How a server speaks TLS.
struct TlsServerOptions : TlsOptions {
    /// The first one serves clients that name no host or an unknown one. The others are chosen by the host that the
    /// client asks for (SNI), which must be among their names; `*.example.org` stands for one label.
    std::vector<TlsCertificate> certificates = {};
    ClientCertificates client_certificates = ClientCertificates::ignored;
    /// A PEM file with the authorities that may sign client certificates.
    std::string client_authorities = {};
    /// Returning clients can skip the full handshake (session tickets).
    bool resumption = true;
    /// Concurrent handshakes on each serving thread. Further ones wait, and their timeout keeps running.
    std::size_t handshakes_at_once = 256;
    /// Called with a line for each failed handshake. Null: failures are only counted.
    std::function<void(std::string_view line)> report = {};
};

/// How a client speaks TLS.
struct TlsClientOptions : TlsOptions {
    /// A PEM file with the trusted authorities. Empty: those that the system trusts.
    std::string authorities = {};
    /// False: the server's certificate is not verified. Only for tests.
    bool verify = true;
    /// Our own certificate, for servers that ask for one.
    TlsCertificate certificate = {};
    /// Keeps session tickets from servers for resumption, `remembered_limit` at most.
    bool resumption = true;
    static constexpr std::size_t remembered_limit = 256;
};

/// Certificates, keys and settings, shared by all connections made with them.
///
/// Lifetime  Copies share one context. A connection keeps what it started with, even after `reload`.
/// Thread    Any.
class TlsContext {
public:
    /// Reads the files.
    ///
    /// Errors    `unreadable_file`, `key_mismatch`, `invalid_option`; `TlsOptions::causes` says more.
    static Result<TlsContext> server(TlsServerOptions options);
    static Result<TlsContext> client(TlsClientOptions options = {});

    /// Reads all files again, for new connections. If one of them is bad, nothing changes. Clients can still resume
    /// with their tickets, unless client certificates are asked for.
    ///
    /// Errors    As `server`; `cause`, if not null, receives a line with details.
    Result<void> reload(std::string* cause = nullptr);

    [[nodiscard]] const TlsOptions& options() const noexcept;
    /// The options of a server context; null for a client context.
    [[nodiscard]] const TlsServerOptions* server_options() const noexcept;

    // For the streams.
    class State;
    [[nodiscard]] const std::shared_ptr<State>& state() const noexcept { return state_; }

private:
    explicit TlsContext(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

    std::shared_ptr<State> state_;
};

} // namespace ringlet
