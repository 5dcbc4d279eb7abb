#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>

#include <memory>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A variable with a value of its own in every task, as gevent.local: a request's id, a user. A
/// task inherits the values of the task that spawns it; setting one later changes it for the task
/// itself, and for what it spawns from then on.
///
///     TaskLocal<std::string> user("nobody");     // outlives the tasks: usually a global
///     user.set("ada");
///     log(user.get());                           // even in functions that are not coroutines
///
/// Lifetime  Outlives every task that has set it.
/// Thread    One value per task; the variable itself may be used on every thread that runs a loop.
/// Cost      `get`: a walk over the values that the task has. `set`: one allocation.
template <class T>
class TaskLocal {
public:
    /// `initial` is the value in tasks that have neither set nor inherited one.
    explicit TaskLocal(T initial = T()) : initial_(std::move(initial)) {}
    TaskLocal(const TaskLocal&) = delete;
    TaskLocal& operator=(const TaskLocal&) = delete;

    /// The value of the task that runs now; outside of any task, the initial one.
    ///
    /// Lifetime  Until the next `set` in the same task.
    [[nodiscard]] const T& get() const noexcept {
        const TaskRecord* task = LoopCore::current_task();
        if (task == nullptr) return initial_;
        const std::shared_ptr<void>* value = task->locals.find(this);
        return value != nullptr ? *static_cast<const T*>(value->get()) : initial_;
    }

    /// Sets the value of the task that runs now. Asserts that there is one.
    void set(T value) {
        TaskRecord* task = LoopCore::current_task();
        RINGLET_ASSERT(task != nullptr, "TaskLocal::set was called outside of any task");
        task->locals.set(this, std::make_shared<T>(std::move(value)));
    }

private:
    T initial_;
};

} // namespace ringlet
