#pragma once

#include <ringlet/detail/config.hpp>

#include <chrono>

namespace RINGLET_EXPORT ringlet {

/// The clock of deadlines: CLOCK_MONOTONIC, which is also what the kernel's waits use. Its moments are
/// those of `std::chrono::steady_clock`; in a simulation (`<ringlet/testing/simulation.hpp>`) it shows
/// the simulated time.
struct Clock {
    using duration = std::chrono::steady_clock::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr bool is_steady = true;

    [[nodiscard]] static time_point now() noexcept;
};

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
