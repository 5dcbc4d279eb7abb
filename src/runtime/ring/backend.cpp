#include <ringlet/backend.hpp>

#include <array>

#include "ring/make_ring.hpp"

namespace ringlet {

namespace {

// The backends that can be requested.
constexpr std::array backends = {Backend::automatic, Backend::io_uring, Backend::epoll};

} // namespace

const char* to_string(Backend backend) noexcept {
    switch (backend) {
    case Backend::automatic: return "auto";
    case Backend::io_uring: return "io_uring";
    case Backend::epoll: return "epoll";
    case Backend::simulated: return "simulated";
    }
    return "?";
}

std::optional<Backend> parse_backend(std::string_view name) noexcept {
    for (const Backend backend : backends) {
        if (name == ringlet::to_string(backend)) return backend;
    }
    return std::nullopt;
}

std::string BackendChoice::to_string() const {
    std::string text = ringlet::to_string(backend);
    if (refusal) {
        return text + " (io_uring is refused: " + refusal.default_error_condition().message() + ")";
    }
    return backend == Backend::epoll ? text + " (as asked for)" : text;
}

std::error_code probe_io_uring() noexcept {
    BackendChoice unused;
    return make_ring(Backend::io_uring, {.entries = 1}, unused).error();
}

} // namespace ringlet
