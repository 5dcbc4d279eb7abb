#include "serve/metrics_service.hpp"

#include <ringlet/deadline.hpp>
#include <ringlet/serve.hpp>

#include "serve/metrics_text.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

namespace ringlet {

namespace {

constexpr std::string_view plain = "text/plain; charset=utf-8";

std::string response(std::string_view status, std::string_view type, std::string_view body,
                     std::string_view more_head = "") {
    std::string text = "HTTP/1.1 ";
    text += status;
    text += "\r\nContent-Type: ";
    text += type;
    text += "\r\nContent-Length: " + std::to_string(body.size()) +
            "\r\nCache-Control: no-store\r\nConnection: close\r\n";
    text += more_head;
    text += "\r\n";
    text += body;
    return text;
}

std::string health(std::string_view wrong) {
    if (wrong.empty()) return response("200 OK", plain, "ok\n");
    return response("503 Service Unavailable", plain, std::string(wrong) + "\n");
}

std::string worker_that_is_stuck(const ServerState& server) {
    for (std::size_t index = 0; index < server.workers.size(); ++index) {
        const WorkerState& worker = server.workers[index];
        if (!worker.has_ended && !worker.snapshot)
            return "worker " + std::to_string(index) + " does not answer";
    }
    return {};
}

// Why the server takes no new connections; empty if it does.
std::string not_ready(const ServerState& server) {
    const auto is_in = [&](ServePhase phase) {
        return std::ranges::any_of(server.workers, [&](const WorkerState& worker) {
            return worker.snapshot && worker.snapshot->phase == phase;
        });
    };
    const bool one_has_ended =
        std::ranges::any_of(server.workers, [](const WorkerState& one) { return one.has_ended; });
    if (one_has_ended || is_in(ServePhase::draining)) return "draining";
    // One that accepts is enough: the clients of the others wait in their queues, for as long as a thread takes to start.
    if (is_in(ServePhase::starting) && !is_in(ServePhase::accepting)) return "starting";
    return worker_that_is_stuck(server);
}

} // namespace

Result<StreamListener> MetricsService::bind(const ServeOptions& options, TakeOver* taken) {
    auto endpoint = Endpoint::resolve(options.metrics);
    std::error_code error = endpoint.error();
    if (endpoint) {
        ListenOptions own;
        own.backlog = static_cast<int>(connections_limit);
        auto listener = ServiceListener::take_or_bind(*endpoint, metrics_service, own, taken);
        if (listener) return listener;
        error = listener.error();
    }
    report_to(options.loop, "metrics: " + advice(options.metrics, error));
    return Errc::metrics_unavailable;
}

MetricsService::MetricsService(StreamListener listener, Source source)
    : listener_(std::move(listener), metrics_service), source_(std::move(source)) {}

Task<> MetricsService::serve() {
    return listener_.serve_clients(
        connections_limit, [this](StreamSocket own) { return serve_client(std::move(own)); });
}

Task<> MetricsService::serve_client(StreamSocket stream) {
    auto talk = [&]() -> Task<> { return exchange(stream); };
    auto done = co_await with_timeout(exchange_time_limit, talk);
    static_cast<void>(done); // a client that is too slow is disconnected
}

// One request per connection, into memory of its own: the loop's buffers may all be lent, and metrics must show that.
Task<> MetricsService::exchange(StreamSocket& stream) {
    std::string received(head_bytes_limit, '\0');
    std::size_t count = 0;
    std::string text;
    for (;;) {
        const auto room = std::as_writable_bytes(std::span(received)).subspan(count);
        auto more = co_await stream.recv(room);
        if (!more || *more == 0) break;
        count += *more;
        const std::string_view head(received.data(), count);
        const std::size_t end = head.find("\r\n\r\n");
        if (end != head.npos) {
            auto answered = co_await answer(head.substr(0, end + 2));
            text = std::move(answered);
            break;
        }
        if (count == received.size()) break;
    }
    if (count == 0) co_return;
    if (text.empty())
        text = response("400 Bad Request", plain, "this is no request that ends in time\n");
    auto sent = co_await stream.send_all(text);
    if (!sent) co_return;
    // Unread data would turn the close into a reset, which would discard the answer.
    auto finished = stream.shutdown_write();
    while (finished) {
        auto more = co_await stream.recv(std::as_writable_bytes(std::span(received)));
        if (!more || *more == 0) co_return;
    }
}

Task<std::string> MetricsService::answer(std::string_view head) {
    const auto request = parse_metrics_request(head);
    if (!request) co_return response("400 Bad Request", plain, "this is no HTTP/1.1\n");
    const bool wants_metrics = request->path == "/metrics";
    const bool wants_health = request->path == "/healthz";
    if (!wants_metrics && !wants_health && request->path != "/readyz") {
        co_return response("404 Not Found", plain, "there are /metrics, /healthz and /readyz\n");
    }
    const bool wants_head = request->method == "HEAD";
    if (request->method != "GET" && !wants_head) {
        co_return response("405 Method Not Allowed", plain, "only GET and HEAD\n",
                           "Allow: GET, HEAD\r\n");
    }
    const ServerState server = co_await source_();
    std::string text;
    if (wants_metrics) {
        text = response("200 OK", content_type(request->format),
                        metrics_text(server, request->format), "Vary: Accept\r\n");
    } else if (wants_health) {
        text = health(worker_that_is_stuck(server));
    } else { // after a hand-over the next program serves this address, so it is ready
        text = health(listener_.has_left() ? std::string() : not_ready(server));
    }
    if (wants_head) text.resize(text.find("\r\n\r\n") + 4);
    co_return text;
}

} // namespace ringlet
