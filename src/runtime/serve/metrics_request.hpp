#pragma once

// A request for metrics or health, read from the head of an HTTP message. Keeps the promise that anything but
// HTTP/1.x is refused, and that no part of it is trusted to be short.

#include <optional>
#include <string_view>

namespace ringlet {

enum class MetricsFormat { prometheus, openmetrics };

/// Lifetime  Refers to the head that it was read from.
struct MetricsRequest {
    std::string_view method;
    std::string_view path; ///< without its query
    MetricsFormat format = MetricsFormat::prometheus;
};

/// Reads a head, up to the empty line at its end. Nothing if it is malformed.
[[nodiscard]] std::optional<MetricsRequest> parse_metrics_request(std::string_view head);

/// The format that an Accept header asks for: OpenMetrics if that is named, and weighs no less than text/plain.
[[nodiscard]] MetricsFormat format_asked_for(std::string_view accept);

} // namespace ringlet
