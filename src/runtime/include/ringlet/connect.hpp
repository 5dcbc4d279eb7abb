#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>
#include <ringlet/tcp_stream.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// How `connect` finds its peer. Trivially destructible, so that it may stand in a `co_await`.
struct ConnectByNameOptions {
    /// For everything: the look-up, and all attempts. It ends with `timed_out`.
    std::chrono::milliseconds timeout{30'000};
    /// After so long the next address is tried as well, if the last attempt has not failed before (RFC 8305, section
    /// 5, recommends 250 ms).
    std::chrono::milliseconds attempt_delay{250};
    /// For each attempt. Addresses of another family than that of `from` are not tried.
    ConnectOptions socket = {};
    /// Gets a line for each address that was tried in vain, and why. Outlives the await.
    std::string* causes = nullptr;
};

/// Connects by name: `auto stream = co_await connect("example.org:443");`
///
/// All addresses of the name are tried, of both families in turn, each a little later than the one before, and the
/// first that connects is taken (RFC 8305); the others are cancelled. `unix:/PATH` connects to a Unix socket.
///
/// Suspends  Until the connection stands, everything has failed, or the time is up.
/// Cancel    Ends with `operation_canceled`.
/// Returns   `Result<StreamSocket>`.
/// Errors    `unknown_host`, `invalid_endpoint`, `timed_out`; otherwise what became of the first address:
///           `ConnectByNameOptions::causes` has all.
[[nodiscard]] Task<Result<StreamSocket>> connect(std::string host_and_port,
                                                 ConnectByNameOptions options = {});

/// The same when the addresses are known.
[[nodiscard]] Task<Result<StreamSocket>> connect_to_any(std::vector<Endpoint> endpoints,
                                                        ConnectByNameOptions options = {});

} // namespace ringlet
