#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/result.hpp>

#include <coroutine>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A wait that lives in an awaiter, and so in the frame of the waiting coroutine. Its functions are the only way
/// to suspend: they first check whether the coroutine's scope was cancelled.
///
/// Lifetime  A frame may be destroyed while it waits: nothing makes it ready then. A derived class calls `abandon`
///           in its destructor, unless its base or member has done so already (`ListedWait`, `Timer`).
class Suspension : public Wait {
public:
    bool was_cancelled = false; ///< the answer is `operation_canceled`

    void abandon() noexcept override = 0;

    /// Resumes the coroutine at the loop's next turn.
    void wake() noexcept { scope->loop->make_ready(*this); }

    /// Ends the wait with `operation_canceled` at the loop's next turn.
    void end_cancelled() noexcept {
        was_cancelled = true;
        scope->note_answered();
        wake();
    }

    /// Success, or `operation_canceled`.
    [[nodiscard]] Result<void> outcome() const noexcept {
        if (was_cancelled) return std::errc::operation_canceled;
        return {};
    }

protected:
    Suspension() = default;
    // Only for passing an awaiter on before it is awaited: nothing of a wait is copied.
    // NOLINTNEXTLINE(bugprone-copy-constructor-init)
    Suspension(const Suspension&) noexcept {}
    Suspension& operator=(const Suspension&) = delete;
    ~Suspension() {
        if (!is_suspended()) [[likely]]
            return;
        scope->loop->forget_ready(*this);
        scope->wait = nullptr;
    }

    /// Does the work of `await_suspend`. In a cancelled scope the answer is `operation_canceled`. Otherwise
    /// `try_now()` may have the answer already; if not, `enlist()` arranges for this wait to be made ready.
    ///
    /// Errors    The `co_await` throws what `try_now` and `enlist` throw, as if it had never begun.
    template <class TryNow, class Enlist>
    [[nodiscard]] bool suspend(CancelScope& in, std::coroutine_handle<> coroutine, TryNow try_now,
                               Enlist enlist) {
        const auto admission = in.loop->admit(in);
        if (admission != LoopCore::Admission::proceed) [[unlikely]] {
            was_cancelled = true;
            return in.loop->suspend_refused(admission, in, coroutine);
        }
        if (try_now()) return in.loop->answered_at_once(in, coroutine);
        suspend_to_the_end(in, coroutine, enlist);
        return true;
    }
    template <class Enlist>
    [[nodiscard]] bool suspend(CancelScope& in, std::coroutine_handle<> coroutine, Enlist enlist) {
        return suspend(in, coroutine, [] { return false; }, enlist);
    }

    /// The same for a wait that cancellation must not cut short, because something has begun that must end. An
    /// await that starts with this has asked `LoopCore::admit` in another way.
    template <class Enlist>
    void suspend_to_the_end(CancelScope& in, std::coroutine_handle<> coroutine, Enlist enlist) {
        in.loop->note_wait(LoopCore::Admitted(), *this, in, coroutine);
        try {
            enlist();
        } catch (...) {
            waiter = nullptr;
            in.wait = nullptr;
            throw;
        }
    }

    /// True from the start of the wait until the coroutine is resumed.
    [[nodiscard]] bool is_suspended() const noexcept { return waiter != nullptr; }
};

/// What a waiter was given before it is resumed. If not taken, it goes back, and so to the next in line.
template <class Giver>
class Grant {
public:
    Grant() noexcept = default;
    Grant(const Grant&) = delete;
    Grant& operator=(const Grant&) = delete;
    ~Grant() { give_back(); }

    void give(Giver& giver) noexcept { giver_ = &giver; }
    void take() noexcept { giver_ = nullptr; }
    void give_back() noexcept {
        if (giver_ != nullptr) std::exchange(giver_, nullptr)->take_back();
    }

private:
    Giver* giver_ = nullptr;
};

} // namespace ringlet
