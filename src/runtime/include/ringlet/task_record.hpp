#pragma once

#include <ringlet/intrusive_list.hpp>
#include <ringlet/ready_queue.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>

#include <exception>
#include <functional>
#include <system_error>
#include <tuple>
#include <utility>

namespace ringlet {

/// What a loop knows of one spawned task: the context that its coroutines inherit, and their frame.
///
/// Lifetime  Made by `spawn`; goes, with the frame, when the loop has reaped the finished task.
class TaskRecord : public TaskContext, public Resumable, public ListHook, public Pooled {
public:
    TaskRecord() = default;
    virtual ~TaskRecord() = default;

    /// True when the coroutine has run to its end, or was destroyed.
    [[nodiscard]] virtual bool is_done() const noexcept = 0;

    /// Called once, by the loop, outside of any coroutine, when the task has finished.
    virtual void finished(EventLoop& owner) = 0;

    /// Destroys a coroutine that is suspended and waits for nothing.
    virtual void destroy_frame() noexcept = 0;

    void root_finished() noexcept final;

    TaskRecord* next_finished = nullptr;
};

/// Reports a task that ended with an exception or an error and that nobody joins.
void report_failure(EventLoop& loop, std::exception_ptr exception);
void report_failure(EventLoop& loop, std::error_code error);

/// The record of `fn(args...)`. Holds the callable and the arguments for as long as the coroutine
/// may refer to them.
template <class T, class Fn, class... Args>
class SpawnedTask : public TaskRecord {
public:
    template <class F, class... As>
    explicit SpawnedTask(F&& fn, As&&... args)
        : fn_(std::forward<F>(fn)), args_(std::forward<As>(args)...),
          task_(std::apply([this](auto&... arg) { return std::invoke(fn_, std::move(arg)...); },
                           args_)) {
        task_.frame().promise().become_root_of(this);
        waiter = task_.frame();
    }

    [[nodiscard]] bool is_done() const noexcept override { return !task_ || task_.frame().done(); }
    void destroy_frame() noexcept override { task_ = Task<T>(); }

    void finished(EventLoop& owner) override {
        try {
            if constexpr (is_result_v<T>) {
                auto result = task_.frame().promise().take();
                if (!result) report_failure(owner, result.error());
            } else {
                static_cast<void>(task_.frame().promise().take());
            }
        } catch (...) {
            report_failure(owner, std::current_exception());
        }
    }

    /// The outcome of a task that was run, not spawned.
    auto take_result() {
        using Returned = std::conditional_t<is_result_v<T>, T, Result<T>>;
        if (!task_) return Returned(std::errc::operation_canceled);
        if constexpr (std::is_void_v<T>) {
            task_.frame().promise().take();
            return Returned();
        } else {
            return Returned(task_.frame().promise().take());
        }
    }

private:
    [[no_unique_address]] Fn fn_;
    [[no_unique_address]] std::tuple<Args...> args_;
    Task<T> task_;
};

} // namespace ringlet
