#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/result.hpp>

#include <coroutine>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A wait that lives in an awaiter, and so in the frame of the coroutine that waits. Its functions are the
/// one way to suspend: they ask first whether the coroutine's scope was cancelled.
///
/// Lifetime  A frame may go while it waits: then nothing makes it ready any more. Whoever inherits calls
///           `abandon` in the destructor, unless what it was in has done that already (`ListedWait`, `Timer`).
class Suspension : public Wait {
public:
    bool was_cancelled = false; ///< its answer is `operation_canceled`

    void abandon() noexcept override = 0;

    /// Lets the coroutine go on at the loop's next turn.
    void wake() noexcept { scope->loop->make_ready(*this); }

    /// Ends the wait with `operation_canceled`, at the loop's next turn.
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

    /// What `await_suspend` does. In a cancelled scope the answer is `operation_canceled`. Otherwise
    /// `try_now()` may have the answer already; and if not, `enlist()` sees to it that this is made ready.
    ///
    /// Errors    What `try_now` and `enlist` throw is thrown by the `co_await`, as if it had never begun.
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

    /// The same for what must be waited for, cancelled or not, since something has begun that must end. An
    /// await that begins with this has asked `LoopCore::admit` in another way.
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

    /// True from the beginning of the wait until the coroutine is resumed.
    [[nodiscard]] bool is_suspended() const noexcept { return waiter != nullptr; }
};

/// What was handed to a waiter before its turn. Unless it is taken, it goes back, and so to the next in line.
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
