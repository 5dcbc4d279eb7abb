#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>

#include <cstddef>
#include <limits>

namespace RINGLET_EXPORT ringlet {

/// A number of permits, as std::counting_semaphore. The oldest waiter gets the next one.
///
/// Lifetime  Outlives its waiters (asserted).
/// Thread    One loop's thread.
class Semaphore {
public:
    /// `name` is for messages and dumps; it must outlive the semaphore, as a literal does.
    explicit Semaphore(std::size_t permits, const char* name = "") noexcept
        : waiting_("Semaphore", name), available_(permits) {}

    class [[nodiscard]] Awaiter final : public ListedWait {
    public:
        explicit Awaiter(Semaphore& semaphore) noexcept : semaphore_(&semaphore) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return wait_in(semaphore_->waiting_, scope_of(waiting), waiting,
                           [this] { return semaphore_->try_acquire(); });
        }
        Result<void> await_resume() noexcept {
            handed_over_.take();
            return outcome();
        }

    private:
        friend class Semaphore;
        Semaphore* semaphore_;
        Grant<Semaphore> handed_over_;
    };

    /// Takes a permit, waiting for one if there is none.
    ///
    /// Suspends  If there is none.
    /// Cancel    Ends with `operation_canceled`, and no permit was taken.
    /// Cost      No allocation.
    [[nodiscard]] Awaiter acquire() noexcept { return Awaiter(*this); }

    /// Takes a permit if there is one now.
    [[nodiscard]] bool try_acquire() noexcept {
        if (available_ == 0) return false;
        --available_;
        return true;
    }

    /// Gives permits back; the oldest waiters get them first.
    void release(std::size_t permits = 1) noexcept {
        while (permits > 0 && !waiting_.empty()) {
            static_cast<Awaiter&>(waiting_.wake_one()).handed_over_.give(*this);
            --permits;
        }
        RINGLET_ASSERT(permits <= std::numeric_limits<std::size_t>::max() - available_,
                       "a Semaphore was given more permits than it can count");
        available_ += permits;
    }

    /// Permits that can be taken now.
    [[nodiscard]] std::size_t available() const noexcept { return available_; }

private:
    friend class Grant<Semaphore>;
    void take_back() noexcept { release(); }

    WaitList waiting_;
    std::size_t available_;
};

} // namespace ringlet
