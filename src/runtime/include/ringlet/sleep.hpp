#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>

namespace RINGLET_EXPORT ringlet {

/// What `sleep_for` and `sleep_until` return; await it at once.
class [[nodiscard]] Sleep final : public Wait, public Timer {
public:
    explicit Sleep(Clock::time_point moment) noexcept { deadline = moment; }

    bool await_ready() const noexcept { return false; }
    template <ScopedPromise P>
    bool await_suspend(std::coroutine_handle<P> sleeper) {
        return arm(*sleeper.promise().scope(), sleeper);
    }
    Result<void> await_resume() const;

    void cancel() noexcept override;
    void expired() noexcept override;
    [[nodiscard]] std::string describe() const override;

private:
    bool arm(CancelScope& in, std::coroutine_handle<> sleeper);

    bool cancelled_ = false;
};

/// Waits until a moment on the loop's clock has come.
///
/// Suspends  Always, unless cancelled: a moment in the past comes at the next turn.
/// Cancel    Ends with `operation_canceled`.
/// Cost      No system call of its own: the earliest deadline travels with the loop's wait.
inline Sleep sleep_until(Clock::time_point deadline) noexcept { return Sleep(deadline); }

/// The moment that comes so long after now. A duration too long for the clock gives its last moment
/// (in 292 years), a negative one gives now.
template <class Rep, class Period>
Clock::time_point moment_after(std::chrono::duration<Rep, Period> duration) noexcept {
    using Seconds = std::chrono::duration<double>;
    const auto now = Clock::now();
    if (duration <= duration.zero()) return now;
    const bool fits = Seconds(duration) < Seconds(Clock::time_point::max() - now);
    return fits ? now + std::chrono::ceil<Clock::duration>(duration) : Clock::time_point::max();
}

/// Waits for a duration, counted from the call.
template <class Rep, class Period>
Sleep sleep_for(std::chrono::duration<Rep, Period> duration) noexcept {
    return Sleep(moment_after(duration));
}

} // namespace ringlet
