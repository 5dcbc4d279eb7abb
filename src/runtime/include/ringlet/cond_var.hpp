#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/mutex.hpp>

namespace RINGLET_EXPORT ringlet {

/// Lets a task that holds a mutex wait until another task has changed what the mutex protects, like
/// std::condition_variable.
///
///     while (queue.empty()) {
///         auto woken = co_await changed.wait(*guard);
///         if (!woken) co_return;   // cancelled; the mutex is locked all the same
///     }
///
/// Lifetime  Outlives its waiters (asserted).
/// Thread    One loop's thread.
class CondVar {
public:
    /// `name` is for messages and dumps; it must outlive the variable, as a literal does.
    explicit CondVar(const char* name = "") noexcept : waiting_("CondVar", name) {}

    class [[nodiscard]] Awaiter final : public MutexWait {
    public:
        Awaiter(CondVar& variable, MutexGuard& guard) noexcept
            : variable_(&variable), guard_(&guard), mutex_(guard.mutex()) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return suspend(scope_of(waiting), waiting, [this] {
                variable_->waiting_.push(*this);
                guard_->unlock();
            });
        }
        Result<void> await_resume() noexcept {
            handed_over.take();
            if (guard_->mutex() == nullptr) *guard_ = MutexGuard(*mutex_);
            return outcome();
        }

        // A waiter always returns with the mutex locked. Once it waits for the mutex, it cannot be
        // cancelled any more.
        void cancel() noexcept override {
            if (list != &variable_->waiting_) return;
            leave_list();
            was_cancelled = true;
            scope->note_answered();
            wait_for_mutex();
        }

    private:
        friend class CondVar;
        void wait_for_mutex() noexcept {
            if (mutex_->take()) {
                handed_over.give(*mutex_);
                wake();
            } else {
                mutex_->waiting_.push(*this);
            }
        }

        CondVar* variable_;
        MutexGuard* guard_; // empty while it waits
        Mutex* mutex_;
    };

    /// Unlocks the mutex of `guard`, waits to be notified, and locks it again.
    ///
    /// Suspends  Always, unless already cancelled.
    /// Cancel    Ends with `operation_canceled`, once the mutex is locked again.
    /// Cost      No allocation.
    [[nodiscard]] Awaiter wait(MutexGuard& guard) noexcept {
        RINGLET_ASSERT(guard.mutex() != nullptr,
                       "CondVar::wait needs a guard that holds its mutex");
        return Awaiter(*this, guard);
    }

    /// Wakes the oldest waiter, if there is one.
    void notify_one() noexcept {
        if (!waiting_.empty()) static_cast<Awaiter&>(waiting_.pop()).wait_for_mutex();
    }
    void notify_all() noexcept {
        while (!waiting_.empty()) notify_one();
    }

private:
    WaitList waiting_;
};

} // namespace ringlet
