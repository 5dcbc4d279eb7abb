#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>

#include <cstddef>

namespace RINGLET_EXPORT ringlet {

/// Opens once, when a number of things have happened, like std::latch.
///
/// Lifetime  Outlives its waiters (asserted).
/// Thread    One loop's thread.
class Latch {
public:
    /// `name` is for messages and dumps; it must outlive the latch, as a literal does.
    explicit Latch(std::size_t expected, const char* name = "") noexcept
        : waiting_("Latch", name), missing_(expected) {}

    class [[nodiscard]] Awaiter final : public ListedWait {
    public:
        explicit Awaiter(Latch& latch) noexcept : latch_(&latch) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return wait_in(latch_->waiting_, scope_of(waiting), waiting,
                           [this] { return latch_->try_wait(); });
        }
        Result<void> await_resume() const noexcept { return outcome(); }

    private:
        Latch* latch_;
    };

    /// Counts `happened` things. More than were expected is a mistake (asserted).
    void count_down(std::size_t happened = 1) noexcept {
        RINGLET_ASSERT(happened <= missing_, "a Latch was counted down below zero");
        missing_ -= happened;
        if (missing_ == 0) waiting_.wake_all();
    }

    /// True when it is open.
    [[nodiscard]] bool try_wait() const noexcept { return missing_ == 0; }

    /// Waits until it is open.
    ///
    /// Suspends  If it is not.
    /// Cancel    Ends with `operation_canceled`.
    /// Cost      No allocation.
    [[nodiscard]] Awaiter wait() noexcept { return Awaiter(*this); }

    /// Counts down, and waits. The count stands even if the wait is cancelled.
    [[nodiscard]] Awaiter arrive_and_wait(std::size_t happened = 1) noexcept {
        count_down(happened);
        return wait();
    }

private:
    WaitList waiting_;
    std::size_t missing_;
};

} // namespace ringlet
