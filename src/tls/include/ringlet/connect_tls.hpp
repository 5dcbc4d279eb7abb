#pragma once

#include <ringlet/connect.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/tls_context.hpp>
#include <ringlet/tls_stream.hpp>

#include <string>

namespace RINGLET_EXPORT ringlet {

/// Options of `connect_tls`. Trivially destructible, so that they can be used in a `co_await`.
struct ConnectTlsOptions {
    /// How the underlying connection is made. Its `causes` is ignored; use the one here.
    ConnectByNameOptions socket = {};
    /// Null: the system's certificate authorities, TLS 1.2 and 1.3. Must outlive the await.
    const TlsContext* context = nullptr;
    /// The name to send and verify; null: the host connected to. Must outlive the await.
    const char* server_name = nullptr;
    /// Receives a line for each failure. Must outlive the await.
    std::string* causes = nullptr;
};

/// Connects by name and does the handshake: `co_await connect_tls("example.org:443")`.
///
/// The certificate is verified and must match the host. See `connect` and `TlsStream::connect`.
///
/// Suspends  Until the handshake succeeds or fails.
/// Cancel    Ends with `operation_canceled`.
/// Returns   `Result<TlsStream>`.
/// Errors    Those of `connect`, and `TlsErrc`.
[[nodiscard]] Task<Result<TlsStream>> connect_tls(std::string host_and_port,
                                                  ConnectTlsOptions options = {});

} // namespace ringlet
