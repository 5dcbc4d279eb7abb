#pragma once

// A server's metrics as text: Prometheus' format 0.0.4, or OpenMetrics 1.0. Names and units are those that `promtool
// check metrics` wants; docs/guides/operations.md lists them.

#include "serve/metrics_request.hpp"
#include "serve/snapshot.hpp"

#include <string>
#include <string_view>

namespace ringlet {

[[nodiscard]] std::string metrics_text(const ServerState& server, MetricsFormat format);
[[nodiscard]] std::string_view content_type(MetricsFormat format) noexcept;

} // namespace ringlet
