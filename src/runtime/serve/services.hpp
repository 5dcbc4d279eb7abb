#pragma once

// What a server has beside its connections, be it one worker or several.

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
    /// None serves anybody before the program before this one has left.
    void wait_for(const TakeOver& predecessor);
};

} // namespace ringlet
