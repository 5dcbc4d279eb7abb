#include <ringlet/sleep.hpp>

namespace ringlet {

void Sleep::cancel() noexcept {
    if (!is_armed()) return;
    disarm();
    end_cancelled();
}

void Sleep::expired() noexcept { wake(); }

std::string Sleep::describe() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(between(Clock::now(), deadline));
    return "sleep, " + std::to_string(left.count()) + " ms left";
}

} // namespace ringlet
