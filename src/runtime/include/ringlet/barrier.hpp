#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>

#include <cstddef>

namespace RINGLET_EXPORT ringlet {

/// Lets a number of tasks wait for each other, phase after phase, like std::barrier.
///
/// Lifetime  Outlives its waiters (asserted).
/// Thread    One loop's thread.
class Barrier {
public:
    /// `name` is for messages and dumps; it must outlive the barrier, as a literal does.
    explicit Barrier(std::size_t expected, const char* name = "") noexcept
        : waiting_("Barrier", name), expected_(expected) {
        RINGLET_ASSERT(expected > 0, "a Barrier expects at least one");
    }

    class [[nodiscard]] Awaiter final : public ListedWait {
    public:
        explicit Awaiter(Barrier& barrier) noexcept : barrier_(&barrier) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return wait_in(barrier_->waiting_, scope_of(waiting), waiting,
                           [this] { return barrier_->arrive(); });
        }
        Result<void> await_resume() const noexcept { return outcome(); }

        ~Awaiter() { abandon(); }

        void abandon() noexcept override {
            if (list != nullptr) --barrier_->arrived_;
            leave_list();
        }

    private:
        Barrier* barrier_;
    };

    /// Arrives, and waits until every task of the phase has arrived. The last one releases the others.
    ///
    /// Suspends  Unless it is the last to arrive.
    /// Cancel    Ends with `operation_canceled` and undoes the arrival: the others wait for one more.
    /// Cost      No allocation.
    [[nodiscard]] Awaiter arrive_and_wait() noexcept { return Awaiter(*this); }

    /// Arrives, and is not expected in later phases.
    void arrive_and_drop() noexcept {
        RINGLET_ASSERT(expected_ > 0, "more dropped out of a Barrier than it expects");
        --expected_;
        if (expected_ > 0 && arrived_ == expected_) open();
    }

private:
    bool arrive() noexcept {
        if (arrived_ + 1 < expected_) {
            ++arrived_;
            return false;
        }
        open();
        return true;
    }
    void open() noexcept {
        arrived_ = 0;
        waiting_.wake_all();
    }

    WaitList waiting_;
    std::size_t expected_;
    std::size_t arrived_ = 0;
};

} // namespace ringlet
