#pragma once

// One message there and back, every byte of it compared: both kinds of runs do this.

#include <ringlet/ringlet.hpp>
#include <ringlet/tls.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>

/// How a connection goes through TLS.
struct TlsSettings {
    ringlet::TlsContext context;
    std::string server_name; ///< that is sent and verified
};

/// A connection to the server: a plain one, or one through TLS.
class Connection {
public:
    Connection() = default;
    explicit Connection(ringlet::StreamSocket plain) : plain_(std::move(plain)) {}
    explicit Connection(ringlet::TlsStream tls) : tls_(std::move(tls)) {}

    [[nodiscard]] bool was_resumed() const { return tls_ && tls_.was_resumed(); }
    /// An error of this connection, in words.
    [[nodiscard]] std::string describe(std::error_code error) const {
        const bool has_more = tls_ && !tls_.failure().empty();
        return has_more ? tls_.failure() : error.message();
    }
    [[nodiscard]] int native_handle() const {
        return tls_ ? tls_.below().native_handle() : plain_.native_handle();
    }

    /// Sends `request` and receives as much into `reply`, which has the same size. Returns whether every
    /// byte is right.
    ringlet::Task<ringlet::Result<bool>> exchange(std::span<const std::byte> request,
                                                  std::span<std::byte> reply);
    ringlet::Task<ringlet::Result<void>> close();

private:
    ringlet::StreamSocket plain_;
    ringlet::TlsStream tls_;
};

/// Connects to a server of either kind: HOST:PORT, or a Unix socket. `cause` gets a line if TLS fails.
ringlet::Task<ringlet::Result<Connection>> open_connection(const ringlet::Endpoint& server,
                                                           ringlet::ConnectOptions options,
                                                           const std::optional<TlsSettings>& tls,
                                                           std::string* cause);
