#pragma once

#include <ringlet/event_loop.hpp>

namespace ringlet {

/// What `sleep_for` and `sleep_until` return; await it at once.
class [[nodiscard]] Sleep {
public:
    explicit Sleep(Clock::time_point deadline) noexcept { timer_.deadline = deadline; }

    bool await_ready() const noexcept { return false; }
    template <ContextPromise P>
    bool await_suspend(std::coroutine_handle<P> sleeper) {
        return arm(*sleeper.promise().context(), sleeper);
    }
    Result<void> await_resume() const;

private:
    bool arm(TaskContext& context, std::coroutine_handle<> sleeper);

    Timer timer_;
};

/// Waits until a moment on the loop's clock has come.
///
/// Suspends  Always, unless cancelled: a moment in the past comes at the next turn.
/// Cancel    Ends with `operation_canceled`.
/// Cost      No system call of its own: the earliest deadline travels with the loop's wait.
inline Sleep sleep_until(Clock::time_point deadline) noexcept { return Sleep(deadline); }

/// Waits for a duration, counted from the call. One too long for the clock waits as long as the
/// clock can (292 years); a negative one has passed.
template <class Rep, class Period>
Sleep sleep_for(std::chrono::duration<Rep, Period> duration) noexcept {
    using Seconds = std::chrono::duration<double>;
    const auto now = Clock::now();
    if (duration <= duration.zero()) return Sleep(now);
    const bool fits = Seconds(duration) < Seconds(Clock::time_point::max() - now);
    return Sleep(fits ? now + std::chrono::ceil<Clock::duration>(duration)
                      : Clock::time_point::max());
}

} // namespace ringlet
