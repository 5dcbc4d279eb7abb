#include <ringlet/detail/assert.hpp>
#include <ringlet/error_output.hpp>

#include "base/kernel.hpp"

#include <cstdlib>
#include <new>
#include <string>
#include <string_view>

namespace ringlet {

void assertion_failed(const char* condition, const char* message, const char* file,
                      int line) noexcept {
    try {
        std::string text = "ringlet: ";
        text.append(message).append("\n  (").append(condition).append(", at ").append(file);
        text.append(":").append(std::to_string(line)).append(")\n");
        const std::string_view situation = Kernel::of_this_thread().situation();
        if (!situation.empty()) text.append("  ").append(situation).append("\n");
        write_error(text);
    } catch (const std::bad_alloc&) {
        write_error(message);
    }
    std::abort();
}

} // namespace ringlet
