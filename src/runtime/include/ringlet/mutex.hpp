#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>

#include <utility>

namespace RINGLET_EXPORT ringlet {

class Mutex;

/// Holds a `Mutex` until it is destroyed. Move-only.
class [[nodiscard]] MutexGuard {
public:
    MutexGuard() noexcept = default;
    explicit MutexGuard(Mutex& locked) noexcept : mutex_(&locked) {}
    MutexGuard(MutexGuard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    /// Unlocks what it held, as `std::unique_lock` does.
    MutexGuard& operator=(MutexGuard&& other) noexcept {
        if (this != &other) {
            unlock();
            mutex_ = std::exchange(other.mutex_, nullptr);
        }
        return *this;
    }
    ~MutexGuard() { unlock(); }

    /// Unlocks now. Unlocking twice does nothing.
    void unlock() noexcept;

    [[nodiscard]] Mutex* mutex() const noexcept { return mutex_; }

private:
    Mutex* mutex_ = nullptr;
};

/// A waiter for a `Mutex`, which may be given the mutex before it is resumed.
class MutexWait : public ListedWait {
public:
    Grant<Mutex> handed_over;

protected:
    MutexWait() = default;
    ~MutexWait() = default;
    MutexWait(const MutexWait& other) noexcept : ListedWait(other) {}
    MutexWait& operator=(const MutexWait&) = delete;
};

/// Lets one task at a time into a section that awaits. The oldest waiter gets it next.
///
/// Between two awaits a task has the loop to itself anyway: a mutex is needed only if something
/// must stay unchanged across an await.
///
/// Lifetime  Outlives its holder and its waiters (asserted).
/// Thread    One loop's thread.
class Mutex {
public:
    /// `name` is for messages and dumps; it must outlive the mutex, as a literal does.
    explicit Mutex(const char* name = "") noexcept : waiting_("Mutex", name) {}
    ~Mutex() {
        RINGLET_ASSERT(!locked_ || !waiting_.empty(),
                       (waiting_.to_string() + " was destroyed while locked").c_str());
    }

    class [[nodiscard]] Awaiter final : public MutexWait {
    public:
        explicit Awaiter(Mutex& mutex) noexcept : mutex_(&mutex) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return wait_in(mutex_->waiting_, scope_of(waiting), waiting,
                           [this] { return mutex_->take(); });
        }
        Result<MutexGuard> await_resume() noexcept {
            if (was_cancelled) return std::errc::operation_canceled;
            handed_over.take();
            return MutexGuard(*mutex_);
        }

    private:
        Mutex* mutex_;
    };

    /// Locks it: `auto guard = co_await mutex.lock();`
    ///
    /// Suspends  If another task holds it.
    /// Cancel    Ends with `operation_canceled`, without the lock.
    /// Returns   `Result<MutexGuard>`; the guard unlocks when it is destroyed.
    /// Cost      No allocation.
    [[nodiscard]] Awaiter lock() noexcept { return Awaiter(*this); }

    /// Locks it if it is free. An empty guard (`mutex() == nullptr`) means that it was locked.
    [[nodiscard]] MutexGuard try_lock() noexcept {
        return take() ? MutexGuard(*this) : MutexGuard();
    }

    [[nodiscard]] bool is_locked() const noexcept { return locked_; }

private:
    friend class MutexGuard;
    friend class CondVar;
    friend class Grant<Mutex>;
    bool take() noexcept { return !std::exchange(locked_, true); }
    // Gives the mutex, still locked, to the oldest waiter; unlocks it if there is none.
    void take_back() noexcept;

    WaitList waiting_;
    bool locked_ = false;
};

inline void Mutex::take_back() noexcept {
    if (waiting_.empty()) {
        locked_ = false;
    } else {
        static_cast<MutexWait&>(waiting_.wake_one()).handed_over.give(*this);
    }
}

inline void MutexGuard::unlock() noexcept {
    if (mutex_ != nullptr) std::exchange(mutex_, nullptr)->take_back();
}

} // namespace ringlet
