#pragma once

// Answers /metrics, /healthz and /readyz over HTTP/1.1. A client, however slow or malformed, holds a place for a bounded
// time only, and uses no buffer or descriptor of the server's own connections.

#include <ringlet/listen_address.hpp>
#include <ringlet/server.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/task.hpp>

#include "serve/service_listener.hpp"
#include "serve/snapshot.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace ringlet {

/// Lifetime  Outlives `serve`.
/// Thread    The one of the loop that it serves on.
class MetricsService {
public:
    /// Asks for the state of the server; it answers within a bounded time.
    using Source = std::function<Task<ServerState>()>;

    /// Listens on `ServeOptions::metrics`, with the previous program's socket if that listens there.
    ///
    /// Errors    `metrics_unavailable`; `LoopOptions::report` got the reason.
    static Result<StreamListener> bind(const ServeOptions& options, TakeOver* taken);

    MetricsService(StreamListener listener, Source source);
    [[nodiscard]] const Endpoint& address() const noexcept { return listener_.address(); }
    [[nodiscard]] ServiceListener& listener() noexcept { return listener_; }

    /// Serves until it is cancelled.
    Task<> serve();

    static constexpr std::size_t head_bytes_limit = 8192;
    static constexpr std::size_t connections_limit = 16;
    /// From the connection to its end. Prometheus itself gives up after ten seconds.
    static constexpr std::chrono::seconds exchange_time_limit{10};

private:
    Task<> serve_client(StreamSocket stream);
    Task<> exchange(StreamSocket& stream);
    Task<std::string> answer(std::string_view head);

    ServiceListener listener_;
    Source source_;
};

} // namespace ringlet
