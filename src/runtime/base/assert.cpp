#include <ringlet/detail/assert.hpp>

#include "base/kernel.hpp"

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace ringlet {

void assertion_failed(const char* condition, const char* message, const char* file,
                      int line) noexcept {
    std::fprintf(stderr, "ringlet: %s\n  (%s, at %s:%d)\n", message, condition, file, line);
    const std::string_view situation = Kernel::of_this_thread().situation();
    if (!situation.empty()) {
        std::fprintf(stderr, "  %.*s\n", static_cast<int>(situation.size()), situation.data());
    }
    std::fflush(stderr);
    std::abort();
}

} // namespace ringlet
