#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/detail/suspension.hpp>

#include <utility>

namespace RINGLET_EXPORT ringlet {

/// What `JoinHandle::join` returns; await it at once.
template <class T>
class [[nodiscard]] JoinAwaiter final : public Suspension {
public:
    // The handle may be dropped meanwhile.
    explicit JoinAwaiter(TypedTask<T>& task) noexcept : task_(&task) { task_->add_reference(); }
    JoinAwaiter(const JoinAwaiter&) = delete;
    JoinAwaiter& operator=(const JoinAwaiter&) = delete;
    ~JoinAwaiter() {
        abandon();
        task_->release_reference();
    }

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> joining) {
        return suspend(
            scope_of(joining), joining, [this] { return task_->ended; },
            [this] {
                RINGLET_ASSERT(
                    task_->joiner == nullptr,
                    ("two coroutines join the same task: " + task_->to_string()).c_str());
                task_->joiner = this;
            });
    }
    Outcome<T> await_resume() {
        if (was_cancelled) return std::errc::operation_canceled;
        task_->joined = true;
        return task_->take_outcome();
    }

    void cancel() noexcept override {
        if (task_->joiner != this) return;
        task_->joiner = nullptr;
        end_cancelled();
    }
    void abandon() noexcept override {
        if (task_->joiner == this) task_->joiner = nullptr;
    }
    [[nodiscard]] std::string describe() const override {
        return "the end of " + task_->to_string();
    }

private:
    TypedTask<T>* task_;
};

/// A task that was spawned in a group. Dropping the handle does not affect the task.
///
/// Lifetime  Keeps the task's outcome, and with it the frame of its coroutine: parameters, such as a
///           stream, are destroyed with the handle. After its group has ended only `done` and `name`
///           may be called, because the group has reported the outcome. Move-only.
/// Thread    The loop's own.
template <class T>
class JoinHandle {
public:
    JoinHandle() noexcept = default;
    explicit JoinHandle(TypedTask<T>& task) noexcept : task_(&task) {}
    JoinHandle(JoinHandle&& other) noexcept : task_(std::exchange(other.task_, nullptr)) {}
    JoinHandle& operator=(JoinHandle&& other) noexcept {
        if (this != &other) {
            drop();
            task_ = std::exchange(other.task_, nullptr);
        }
        return *this;
    }
    ~JoinHandle() { drop(); }

    /// Waits until the task has ended: `auto outcome = co_await handle.join();`
    ///
    /// Suspends  If the task has not ended.
    /// Cancel    Ends with `operation_canceled`; the task continues, and can be joined again.
    /// Returns   What the task returned, once: `Result<T>`, or `T` if that is a `Result`.
    /// Errors    `operation_canceled`, even for a task that was cancelled before it began. What the
    ///           task threw is thrown.
    [[nodiscard]] JoinAwaiter<T> join() {
        check();
        RINGLET_ASSERT(!task_->joined,
                       (task_->to_string() + " was joined twice: its value has been "
                                             "moved out")
                           .c_str());
        return JoinAwaiter<T>(*task_);
    }

    /// Cancels this task alone.
    void cancel(CancelReason reason = CancelReason::requested) {
        check();
        if (!task_->ended) task_->task_scope.cancel(reason);
    }

    /// True when the task has ended.
    [[nodiscard]] bool done() const {
        RINGLET_ASSERT(task_ != nullptr, "an empty JoinHandle was used");
        return task_->ended;
    }

    /// The name that was given to `spawn`, or that of the task's function.
    [[nodiscard]] std::string name() const {
        RINGLET_ASSERT(task_ != nullptr, "an empty JoinHandle was used");
        return task_->short_name();
    }

    /// False after a move.
    [[nodiscard]] explicit operator bool() const noexcept { return task_ != nullptr; }

private:
    void drop() noexcept {
        if (task_ != nullptr) std::exchange(task_, nullptr)->release_reference();
    }
    void check() const {
        RINGLET_ASSERT(task_ != nullptr, "an empty JoinHandle was used");
        const GroupLife* group = task_->group.get();
        if (group != nullptr && group->ended) [[unlikely]] {
            const std::string message = "the handle of " + task_->to_string() +
                                        " was used after its group \"" + group->name +
                                        "\" had ended";
            RINGLET_ASSERT(!group->ended, message.c_str());
        }
    }

    TypedTask<T>* task_ = nullptr;
};

} // namespace ringlet
