#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/hand_over.hpp>
#include <ringlet/proxy_protocol.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A handler of connections that come through a proxy: what `with_proxy_protocol` returns.
///
/// Thread    Copied for each worker, as every handler.
template <class Handler>
class ProxyHandler {
public:
    ProxyHandler(ProxyOptions options, Handler handler)
        : options_(std::move(options)), handler_(std::move(handler)) {
        RINGLET_ASSERT(!options_.trusted.empty() || options_.others == ProxyOptions::Others::serve,
                       "with_proxy_protocol without a trusted address: everybody would be refused");
    }

    template <std::derived_from<StreamSocket> Stream>
        requires std::invocable<Handler&, Stream> || std::invocable<Handler&, Stream, ProxyHeader>
    Task<Result<void>> operator()(Stream stream) {
        // In a task of its own, so that its frame and the header are gone when the handler runs.
        using Handling = decltype(call(std::move(stream), ProxyHeader()));
        Task<Result<Handling>> beginning = begin<Handling>(std::move(stream));
        auto handling = co_await std::move(beginning);
        if (!handling) co_return handling.error();
        if constexpr (std::is_same_v<Handling, Task<>>) {
            co_await std::move(*handling);
            co_return Result<void>();
        } else {
            static_assert(std::is_same_v<Handling, Task<Result<void>>>,
                          "a handler returns Task<>, or Task<Result<void>>");
            auto outcome = co_await std::move(*handling);
            co_return outcome;
        }
    }

private:
    template <class Handling, class Stream>
    Task<Result<Handling>> begin(Stream stream) {
        // The previous program has read its header, and `peer()` returns the client.
        if (handed_over_state()) co_return call(std::move(stream), ProxyHeader());
        auto accepted = co_await accept_from_proxy(stream, options_);
        if (!accepted) co_return accepted.error();
        ProxyHeader header;
        if (*accepted) header = std::move(**accepted);
        co_return call(std::move(stream), std::move(header));
    }

    template <class Stream>
    auto call(Stream stream, ProxyHeader header) {
        if constexpr (std::invocable<Handler&, Stream, ProxyHeader>) {
            return handler_(std::move(stream), std::move(header));
        } else {
            return handler_(std::move(stream));
        }
    }

    ProxyOptions options_;
    Handler handler_;
};

/// Turns a handler for clients into one for connections through a proxy: for `serve`, `Server` and `Workers`.
///
///     ProxyOptions proxies{.trusted = {"127.0.0.1", "10.0.0.0/8"}};
///     return exit_status(serve(options, with_proxy_protocol(proxies, echo)));
///
/// From a trusted address a PROXY header is required, and consumed; `peer()` of the stream that the handler gets is the
/// client. A LOCAL or UNKNOWN header leaves `peer()` as it is. The handler takes a stream, or a stream and a
/// `ProxyHeader`, whose version is 0 if `Others::serve` let the connection in without one. TLS comes after the
/// header: `with_proxy_protocol(proxies, with_tls(context, echo))`.
template <class Handler>
ProxyHandler<Handler> with_proxy_protocol(ProxyOptions options, Handler handler) {
    return {std::move(options), std::move(handler)};
}

} // namespace ringlet
