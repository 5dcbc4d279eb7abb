#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/mutex.hpp>

namespace RINGLET_EXPORT ringlet {

/// Lets tasks that hold a mutex wait until another one has changed what it protects, as
/// std::condition_variable.
///
///     while (queue.empty()) {
///         auto woken = co_await changed.wait(*guard);
///         if (!woken) co_return;   // cancelled; the mutex is locked all the same
///     }
///
/// Lifetime  Outlives those that wait for it (asserted).
/// Thread    One loop's own.
class CondVar {
public:
    /// `name` is for messages and dumps; it must outlive the variable, as a literal does.
    explicit CondVar(const char* name = "") noexcept : waiting_("CondVar", name) {}

    class [[nodiscard]] Awaiter final : public ListedWait {
    public:
        Awaiter(CondVar& variable, Mutex& mutex) noexcept : variable_(&variable), mutex_(&mutex) {}
        bool await_ready() const noexcept { return false; }
        template <ScopedPromise P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            const bool suspended = variable_->waiting_.wait_unless(
                *this, *waiting.promise().scope(), waiting, [] { return false; });
            if (list != nullptr) mutex_->release();
            return suspended;
        }
        Result<void> await_resume() const noexcept { return outcome(); }

        // Nobody comes back without the mutex: then the wait is for that, and cannot be cancelled
        // a second time.
        void cancel() noexcept override {
            if (list != &variable_->waiting_) return;
            unlink();
            was_cancelled = true;
            scope->note_answered();
            wait_for_mutex();
        }

    private:
        friend class CondVar;
        void wait_for_mutex() noexcept {
            if (mutex_->take()) {
                list = nullptr;
                scope->loop->make_ready(*this);
            } else {
                mutex_->waiting_.push(*this);
            }
        }

        CondVar* variable_;
        Mutex* mutex_;
    };

    /// Unlocks the mutex of `guard`, waits to be notified, and locks it again.
    ///
    /// Suspends  Always, unless cancelled already.
    /// Cancel    Ends with `operation_canceled`, when the mutex has been locked again.
    /// Cost      No allocation.
    [[nodiscard]] Awaiter wait(MutexGuard& guard) noexcept {
        RINGLET_ASSERT(guard.mutex() != nullptr,
                       "CondVar::wait needs a guard that holds its mutex");
        return Awaiter(*this, *guard.mutex());
    }

    /// Wakes the oldest that waits; nobody, if none does.
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
