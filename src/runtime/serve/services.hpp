#pragma once

// What a server has beside its connections, with one worker or several.

#include "serve/backdoor.hpp"
#include "serve/metrics_service.hpp"
#include "serve/service_listener.hpp"

#include <optional>
#include <vector>

namespace ringlet {

/// Lifetime, thread: those of its parts.
struct Services {
    std::optional<ServiceListener> successors; // where the next program asks
    std::optional<MetricsService> metrics;
    std::optional<Backdoor> backdoor;

    [[nodiscard]] std::vector<ServiceListener*> listeners();
    /// None of them serves a client before the previous program has left.
    void wait_for(const TakeOver& predecessor);
};

} // namespace ringlet
