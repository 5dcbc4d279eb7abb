#pragma once

#include <ringlet/detail/config.hpp>

#include <chrono>

namespace RINGLET_EXPORT ringlet {

/// The clock for deadlines: CLOCK_MONOTONIC, which the kernel's waits use as well. Its time points are
/// those of `std::chrono::steady_clock`. In a simulation (`<ringlet/testing/simulation.hpp>`) it shows
/// the simulated time.
struct Clock {
    using duration = std::chrono::steady_clock::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr bool is_steady = true;

    [[nodiscard]] static time_point now() noexcept;
};

/// A duration in the clock's own unit, rounded up. One that does not fit becomes the longest that does (292
/// years), or the shortest, so "the largest value" means never. NaN counts as zero.
template <class Rep, class Period>
[[nodiscard]] constexpr Clock::duration
saturated(std::chrono::duration<Rep, Period> duration) noexcept {
    using Seconds = std::chrono::duration<double>;
    const Seconds seconds(duration);
    if (seconds.count() != seconds.count()) return Clock::duration::zero();
    if (seconds >= Seconds(Clock::duration::max())) return Clock::duration::max();
    if (seconds <= Seconds(Clock::duration::min())) return Clock::duration::min();
    return std::chrono::ceil<Clock::duration>(duration);
}

/// The time point `duration` after `moment`, clamped to the range of the clock.
[[nodiscard]] constexpr Clock::time_point later(Clock::time_point moment,
                                                Clock::duration duration) noexcept {
    using Moment = Clock::time_point;
    const Clock::duration since = moment.time_since_epoch();
    if (duration > Clock::duration::zero() && since > Clock::duration::max() - duration)
        return Moment::max();
    if (duration < Clock::duration::zero() && since < Clock::duration::min() - duration)
        return Moment::min();
    return moment + duration;
}

/// The time from `from` to `to`, clamped to the range of a duration; negative if `to` is earlier.
[[nodiscard]] constexpr Clock::duration between(Clock::time_point from,
                                                Clock::time_point to) noexcept {
    const Clock::duration begin = from.time_since_epoch();
    const Clock::duration end = to.time_since_epoch();
    if (begin < Clock::duration::zero() && end > Clock::duration::max() + begin)
        return Clock::duration::max();
    if (begin > Clock::duration::zero() && end < Clock::duration::min() + begin)
        return Clock::duration::min();
    return end - begin;
}

/// A duration as the kernel takes it, in `timespec` and `__kernel_timespec`: whole seconds and the
/// remaining nanoseconds. The duration must not be negative.
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
