#pragma once

#include <chrono>

namespace ringlet {

/// The clock of deadlines: CLOCK_MONOTONIC, which is also what the kernel's waits use.
using Clock = std::chrono::steady_clock;

/// A duration as the kernel takes it: whole seconds, and nanoseconds beyond them. For `timespec` and
/// `__kernel_timespec`. The duration must not be negative.
template <class Timespec>
[[nodiscard]] constexpr Timespec to_timespec(Clock::duration duration) noexcept {
    using std::chrono::nanoseconds;
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(duration);
    Timespec time{};
    time.tv_sec = whole.count();
    time.tv_nsec = std::chrono::duration_cast<nanoseconds>(duration - whole).count();
    return time;
}

} // namespace ringlet
