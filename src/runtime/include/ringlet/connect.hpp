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

/// How `connect` finds its peer. Trivially destructible, so that it can be used inside a `co_await`.
struct ConnectByNameOptions {
    /// Limit for the whole call: the look-up and all attempts. Beyond it the call ends with `timed_out`.
    std::chrono::milliseconds timeout{30'000};
    /// Time after which the next address is tried as well; it is tried at once if an attempt fails before that
    /// (RFC 8305, section 5, recommends 250 ms).
    std::chrono::milliseconds attempt_delay{250};
    /// Used for each attempt. If `from` is set, only addresses of its family are tried.
    ConnectOptions socket = {};
    /// If no address connects, receives one line for each with the reason. Outlives the await.
    std::string* causes = nullptr;
};

/// Connects by name: `auto stream = co_await connect("example.org:443");`
///
/// Tries all addresses of the name, alternating between the address families, and starts each attempt a little after
/// the one before. The first attempt to connect wins and the others are cancelled (RFC 8305). `unix:/PATH` connects to
/// a Unix socket.
///
/// Suspends  Until the connection is established, every attempt has failed, or the time is up.
/// Cancel    Ends with `operation_canceled`.
/// Returns   `Result<StreamSocket>`.
/// Errors    `unknown_host`, `invalid_endpoint`, `timed_out`; otherwise the error of the first address.
///           `ConnectByNameOptions::causes` lists the errors of all.
[[nodiscard]] Task<Result<StreamSocket>> connect(std::string host_and_port,
                                                 ConnectByNameOptions options = {});

/// The same for addresses that are already known.
[[nodiscard]] Task<Result<StreamSocket>> connect_to_any(std::vector<Endpoint> endpoints,
                                                        ConnectByNameOptions options = {});

} // namespace ringlet
