#include "ring/make_ring.hpp"

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "ring/epoll/epoll_ring.hpp"
#include "ring/uring/uring_ring.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace ringlet {

namespace {

// RINGLET_WITHOUT=defer_taskrun,registered_ring, and the same for RINGLET_WITH: features that are to be
// used or not. Returns false for an unknown name.
bool decide(const char* variable, bool decision, RingFeatures& features) {
    const char* value = std::getenv(variable);
    std::string_view names = value == nullptr ? std::string_view() : value;
    const std::array<std::pair<std::string_view, bool*>, 10> known = {{
        {"defer_taskrun", &features.defer_taskrun},
        {"registered_ring", &features.registered_ring},
        {"wait_with_timeout", &features.wait_with_timeout},
        {"accept_poll_first", &features.accept_poll_first},
        {"provided_buffers", &features.provided_buffers},
        {"own_buffers", &features.own_buffers},
        {"multishot_accept", &features.multishot_accept},
        {"zero_copy_send", &features.zero_copy_send},
        {"multishot_receive", &features.multishot_receive},
        {"direct_descriptors", &features.direct_descriptors},
    }};
    while (!names.empty()) {
        const std::string_view name = names.substr(0, names.find(','));
        names.remove_prefix(std::min(name.size() + 1, names.size()));
        bool found = false;
        for (const auto& [feature, used] : known) {
            if (name != feature) continue;
            *used = decision;
            found = true;
        }
        if (!found) return false;
    }
    return true;
}

} // namespace

Result<std::unique_ptr<Ring>> make_ring(Backend wanted, const RingOptions& options,
                                        BackendChoice& choice) {
    if (std::unique_ptr<Ring> only; Kernel::of_this_thread().make_ring(options, only)) {
        choice = {.backend = Backend::simulated};
        return only;
    }
    const char* decided = std::getenv("RINGLET_BACKEND");
    if (wanted == Backend::automatic && decided != nullptr && *decided != '\0') {
        const auto backend = parse_backend(decided);
        if (!backend) return Errc::unknown_backend;
        wanted = *backend;
    }
    RingOptions used = options;
    if (!decide("RINGLET_WITH", true, used.features) ||
        !decide("RINGLET_WITHOUT", false, used.features)) {
        return Errc::unknown_feature;
    }
    choice = {.backend = Backend::io_uring};
    if (wanted != Backend::epoll) {
        auto ring = make_uring_ring(used);
        if (ring || wanted == Backend::io_uring) return ring;
        choice.refusal = ring.error();
    }
    choice.backend = Backend::epoll;
    return make_epoll_ring(used);
}

} // namespace ringlet
