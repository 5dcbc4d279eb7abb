#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/hand_over.hpp>
#include <ringlet/result.hpp>
#include <ringlet/semaphore.hpp>
#include <ringlet/serve.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>
#include <ringlet/tls_context.hpp>
#include <ringlet/tls_stream.hpp>

#include <string>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A connection handler that does the handshake first and closes afterwards. `with_tls` returns it.
///
/// Thread    Copied for each worker, like every handler.
template <class Handler>
class TlsHandler {
public:
    TlsHandler(TlsContext context, Handler handler)
        : context_(std::move(context)), handler_(std::move(handler)),
          handshakes_(limit_of(context_), "TLS handshakes") {}
    TlsHandler(const TlsHandler& other) : TlsHandler(other.context_, other.handler_) {}
    TlsHandler& operator=(const TlsHandler&) = delete;

    Task<Result<void>> operator()(StreamSocket below) {
        // TLS connections are never handed over: this one began without TLS.
        if (handed_over_state()) co_return std::errc::protocol_error;
        auto shaken = co_await shake_hands(std::move(below));
        if (!shaken) co_return shaken.error();
        auto shared = shaken->share(); // to close it when the handler ends
        auto outcome = co_await handle(std::move(*shaken));
        auto closing = TlsStream::Connection::close(std::move(shared));
        auto closed = co_await std::move(closing);
        static_cast<void>(closed);
        co_return outcome;
    }

private:
    static std::size_t limit_of(const TlsContext& context) {
        const TlsServerOptions* options = context.server_options();
        RINGLET_ASSERT(options != nullptr, "a server was given the TlsContext of a client");
        return options->handshakes_at_once;
    }

    // The handshake timeout starts when the connection does.
    Task<Result<TlsStream>> shake_hands(StreamSocket below) {
        Task<Result<TlsStream>> shaking = shake_hands_in_turn(std::move(below));
        const auto limit = context_.options().handshake_timeout;
        auto shaken = co_await with_timeout(limit, std::move(shaking));
        co_return shaken;
    }

    Task<Result<TlsStream>> shake_hands_in_turn(StreamSocket below) {
        auto admitted = co_await handshakes_.acquire();
        if (!admitted) co_return admitted.error();
        const Permit permit{handshakes_};
        std::string from;
        const auto& report = context_.server_options()->report;
        if (report) {
            auto peer = below.peer();
            from = peer ? peer->to_string() : "a client that has gone";
        }
        std::string cause;
        Task<Result<TlsStream>> shaking = TlsStream::accept(std::move(below), context_, &cause);
        auto shaken = co_await std::move(shaking);
        if (!shaken && report) report("TLS with " + from + ": " + cause);
        co_return shaken;
    }

    Task<Result<void>> handle(TlsStream stream) {
        using Returned = std::invoke_result_t<Handler&, TlsStream>;
        constexpr bool is_silent = std::is_same_v<Returned, Task<>>;
        static_assert(is_silent || std::is_same_v<Returned, Task<Result<void>>>,
                      "a handler returns Task<>, or Task<Result<void>>");
        Returned handling = handler_(std::move(stream));
        if constexpr (is_silent) {
            co_await std::move(handling);
            co_return Result<void>();
        } else {
            auto outcome = co_await std::move(handling);
            co_return outcome;
        }
    }

    struct Permit {
        Semaphore& handshakes;
        ~Permit() { handshakes.release(); }
    };

    TlsContext context_;
    Handler handler_;
    Semaphore handshakes_;
};

/// Turns a handler of `TlsStream`s into one of TCP or Unix connections, for `serve`, `Server` and `Workers`.
///
///     return exit_status(serve(options, with_tls(*context, echo)));
///
/// When the handler ends, its connection sends the goodbye (close_notify) and is closed.
template <class Handler>
TlsHandler<Handler> with_tls(TlsContext context, Handler handler) {
    return {std::move(context), std::move(handler)};
}

/// Options for serving over TLS.
struct TlsServeOptions {
    ServeOptions serve = {};
    TlsServerOptions tls = {};
};

/// Serves over TLS with a handler that takes a `TlsStream`:
///
///     TlsServeOptions options;
///     options.serve.listen = "0.0.0.0:443";
///     options.tls.certificates = {{"chain.pem", "key.pem"}};
///     return exit_status(serve(options, echo));
///
/// Errors    Those of `serve` and `TlsContext::server`. `LoopOptions::report` has then received a line that says
///           what to do.
template <class Handler>
Result<ServeReport> serve(TlsServeOptions options, Handler handler) {
    std::string cause;
    options.tls.causes = &cause;
    auto context = TlsContext::server(std::move(options.tls));
    if (!cause.empty()) report_to(options.serve.loop, cause);
    if (!context) return context.error();
    return serve(std::move(options.serve), with_tls(std::move(*context), std::move(handler)));
}

} // namespace ringlet
