#pragma once

// The inside of a TlsContext: what was read from files, each time they are read, and the sessions that a client
// remembers.

#include <ringlet/tls_context.hpp>

#include "openssl.hpp"

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace ringlet {

/// The content of the files at one time.
class LoadedTls {
public:
    /// The first context; connections begin with it.
    [[nodiscard]] SSL_CTX* first() const noexcept { return contexts_.front().get(); }
    /// The context with the certificate for this host; null if there is none.
    [[nodiscard]] SSL_CTX* for_host(std::string_view host) const;

private:
    friend class TlsContext::State;

    std::vector<OwnedContext> contexts_; // one for each certificate
    std::map<std::string, SSL_CTX*, std::less<>> by_name_;
};

class TlsContext::State {
public:
    explicit State(TlsServerOptions options) : server(std::move(options)), is_server(true) {}
    explicit State(TlsClientOptions options) : client(std::move(options)), is_server(false) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State();

    Result<void> load(std::string* cause);
    [[nodiscard]] std::shared_ptr<const LoadedTls> loaded() const;
    [[nodiscard]] const TlsOptions& options() const noexcept {
        if (is_server) return server;
        return client;
    }

    /// Keeps a session of a host. Those of TLS 1.3 are handed out once: their tickets are for one use.
    void remember(const std::string& host, OwnedSession session);
    OwnedSession recall(const std::string& host);

    void log_key(std::string_view line) noexcept;

    TlsServerOptions server;
    TlsClientOptions client;
    const bool is_server;

private:
    Result<OwnedContext> make_context(const TlsCertificate* certificate, std::string* cause) const;
    Result<void> read_certificate(SSL_CTX* context, const TlsCertificate& certificate,
                                  std::string* cause) const;
    Result<void> set_trust(SSL_CTX* context, std::string* cause) const;

    mutable std::mutex mutex_; // for what follows: contexts are shared by threads
    std::shared_ptr<const LoadedTls> loaded_;
    std::multimap<std::string, OwnedSession> remembered_;
    std::FILE* key_log_ = nullptr;
};

} // namespace ringlet
