#pragma once

#include <ringlet/connect.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/tls_context.hpp>
#include <ringlet/tls_stream.hpp>

#include <string>

namespace RINGLET_EXPORT ringlet {

/// How `connect_tls` does it. Trivially destructible, so that it may stand in a `co_await`.
struct ConnectTlsOptions {
    /// How the connection below is made. Its `causes` is not used; see here.
    ConnectByNameOptions socket = {};
    /// Null: the system's authorities, TLS 1.2 and 1.3. Outlives the await.
    const TlsContext* context = nullptr;
    /// The name that is sent and verified; null: that which is connected to. Outlives the await.
    const char* server_name = nullptr;
    /// Gets a line for each thing that went wrong. Outlives the await.
    std::string* causes = nullptr;
};

/// Connects by name, and shakes hands: `auto stream = co_await connect_tls("example.org:443");`
///
/// The certificate is verified, and must be for that host. See `connect`, and `TlsStream::connect`.
///
/// Suspends  Until the handshake has ended, or failed.
/// Cancel    Ends with `operation_canceled`.
/// Returns   `Result<TlsStream>`.
/// Errors    Those of `connect`, and `TlsErrc`.
[[nodiscard]] Task<Result<TlsStream>> connect_tls(std::string host_and_port,
                                                  ConnectTlsOptions options = {});

} // namespace ringlet
