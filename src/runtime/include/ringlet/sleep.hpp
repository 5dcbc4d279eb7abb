#pragma once

#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/suspension.hpp>

#include <algorithm>
#include <chrono>

namespace RINGLET_EXPORT ringlet {

/// What `sleep_for` and `sleep_until` return; await it at once.
class [[nodiscard]] Sleep final : public Suspension, public Timer {
public:
    explicit Sleep(Clock::time_point moment) noexcept { deadline = moment; }

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> sleeper) {
        return suspend(scope_of(sleeper), sleeper, [this] { scope->loop->timers().arm(*this); });
    }
    Result<void> await_resume() const noexcept { return outcome(); }

    void cancel() noexcept override;
    void abandon() noexcept override { disarm(); }
    void expired() noexcept override;
    [[nodiscard]] std::string describe() const override;
    [[nodiscard]] std::string describe_kind() const override { return "sleep"; }
};

/// Waits until a moment on the loop's clock.
///
/// Suspends  Always, unless cancelled: a moment in the past comes at the next turn.
/// Cancel    Ends with `operation_canceled`.
/// Cost      No system call of its own: the earliest deadline travels with the loop's wait.
inline Sleep sleep_until(Clock::time_point deadline) noexcept { return Sleep(deadline); }

/// The moment that is `duration` after now. A duration too long for the clock gives its last moment
/// (in 292 years), a negative one gives now.
template <class Rep, class Period>
Clock::time_point moment_after(std::chrono::duration<Rep, Period> duration) noexcept {
    return later(Clock::now(), std::max(saturated(duration), Clock::duration::zero()));
}

/// Waits for a duration, counted from the call.
template <class Rep, class Period>
Sleep sleep_for(std::chrono::duration<Rep, Period> duration) noexcept {
    return Sleep(moment_after(duration));
}

} // namespace ringlet
