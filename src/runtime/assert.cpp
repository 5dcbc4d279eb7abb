#include <ringlet/assert.hpp>

#include <cstdio>
#include <cstdlib>

namespace ringlet {

void assertion_failed(const char* condition, const char* message, const char* file,
                      int line) noexcept {
    std::fprintf(stderr, "ringlet: %s\n  (%s, at %s:%d)\n", message, condition, file, line);
    std::fflush(stderr);
    std::abort();
}

} // namespace ringlet
