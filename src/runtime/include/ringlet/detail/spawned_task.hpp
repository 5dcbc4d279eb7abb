#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/task_record.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/task_name.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <new>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The outcome of a task that returns a `T`: a `Result<T>`, or `T` if that is a `Result` itself.
template <class T>
using Outcome = std::conditional_t<is_result_v<T>, T, Result<T>>;

/// Takes the outcome of a task that ran in `scope`; rethrows its exception. This is the only place that decides
/// whether a `Task<>` was cut short: it was if a cancellation ended or refused something in it. The outcome is then
/// `operation_canceled`. A task that returns a value has itself said how it ended.
template <class T>
Outcome<T> outcome_of(const Task<T>& task, const CancelScope& scope) {
    if constexpr (std::is_void_v<T>) {
        task.frame().promise().take();
        if (scope.was_answered()) return std::errc::operation_canceled;
        return {};
    } else {
        return Outcome<T>(task.frame().promise().take());
    }
}

/// The record of a task that returns a `T`, whatever callable created it.
template <class T>
class TypedTask : public TaskRecord {
public:
    [[nodiscard]] bool has_failed() const noexcept override {
        if (!task_) return false;
        const auto frame = task_.frame(); // named: otherwise g++ 13 warns of a dangling reference
        const auto& promise = frame.promise();
        if (promise.exception() != nullptr) [[unlikely]]
            return true;
        if constexpr (is_result_v<T>) {
            const T* returned = promise.value();
            return returned != nullptr && !returned->has_value() && !is_only_cancelled(*returned);
        }
        return false;
    }
    [[nodiscard]] std::exception_ptr exception() const noexcept override {
        const std::exception_ptr* thrown = task_ ? task_.frame().promise().exception() : nullptr;
        return thrown != nullptr ? *thrown : nullptr;
    }
    [[nodiscard]] std::error_code error() const noexcept override {
        if constexpr (is_result_v<T>) {
            const T* returned = task_ ? task_.frame().promise().value() : nullptr;
            if (returned != nullptr && !is_only_cancelled(*returned)) return returned->error();
        }
        return {};
    }

    /// False for a task that was refused before it began, or destroyed before it had finished.
    [[nodiscard]] bool has_run() const noexcept { return task_ && task_.frame().done(); }

    void destroy_frame() noexcept override { task_ = Task<T>(); }

    /// Takes the outcome of a task that has ended; rethrows its exception. `operation_canceled` if it
    /// never began, or was destroyed before it had finished.
    Outcome<T> take_outcome() {
        if (!has_run()) return Outcome<T>(std::errc::operation_canceled);
        return outcome_of(task_, task_scope);
    }

protected:
    TypedTask() = default;
    explicit TypedTask(const TaskName& given) noexcept {
        name = given.name();
        spawned_at = given.spawned_at();
    }

    void adopt_frame(Task<T> task) noexcept {
        task_ = std::move(task);
        waiter = task_.frame();
        if (*name == '\0') name = task_.frame().promise().function_name();
        if (spawned_at.line() == 0) spawned_at = task_.frame().promise().where();
        task_.frame().promise().begin_as_root(&task_scope);
    }

private:
    [[nodiscard]] bool is_only_cancelled(const Outcome<T>& returned) const noexcept {
        return task_scope.is_cancelled() && returned.error() == std::errc::operation_canceled;
    }

    Task<T> task_;
};

/// The argument with this index.
template <std::size_t, class T>
struct StoredArgument {
    [[no_unique_address]] T value;
};

/// A callable and its arguments, which it takes over when it is called.
template <class Indices, class Fn, class... Args>
struct StoredCall;
template <std::size_t... I, class Fn, class... Args>
struct StoredCall<std::index_sequence<I...>, Fn, Args...> : StoredArgument<I, Args>... {
    template <class F, class... As>
    explicit StoredCall(F&& callable, As&&... args)
        : StoredArgument<I, Args>{std::forward<As>(args)}..., fn(std::forward<F>(callable)) {}

    auto operator()() {
        if constexpr (std::is_member_pointer_v<Fn>) {
            return std::invoke(fn, std::move(StoredArgument<I, Args>::value)...);
        } else {
            return fn(std::move(StoredArgument<I, Args>::value)...);
        }
    }

    [[no_unique_address]] Fn fn;
};

/// The record of `fn(args...)`. Holds the callable and the arguments for as long as the coroutine may refer to them.
///
/// There is one for each callable that a program spawns, so it is made of few functions: with `std::optional` and
/// `std::tuple` a file that spawns much took half as long again to compile.
template <class T, class Fn, class... Args>
class SpawnedTask final : public TypedTask<T> {
public:
    template <class... As>
    explicit SpawnedTask(const TaskName& given, As&&... fn_and_args) : TypedTask<T>(given) {
        ::new (static_cast<void*>(&call_)) Call(std::forward<As>(fn_and_args)...);
        try {
            this->adopt_frame(call_());
        } catch (...) {
            drop_arguments();
            throw;
        }
    }

    ~SpawnedTask() override {
        this->destroy_frame(); // unless it has run to its end it may refer to them
        drop_arguments();
    }

    void drop_arguments() noexcept override {
        if (dropped_) return;
        dropped_ = true;
        call_.~Call();
    }

private:
    using Call = StoredCall<std::index_sequence_for<Args...>, Fn, Args...>;
    union {
        Call call_; // until it is dropped
    };
    bool dropped_ = false;
};

/// What `Fn` with `Args` creates: a `SpawnedTask`, and the return type of its task.
template <class Fn, class... Args>
struct SpawnTraits {
    static_assert(
        !std::is_convertible_v<Fn, std::string_view>,
        "the name of a task must outlive it: pass a literal or a const char*, not a std::string");
    static_assert(!is_task_v<std::decay_t<Fn>>,
                  "pass the function and its arguments, not a task: spawn(fn, args...)");
    static_assert(
        std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<Args>...>,
        "the function cannot be called with these arguments; they are moved into the task, "
        "so that a parameter cannot be a non-const reference: pass a pointer or std::ref");
    using Returned = std::invoke_result_t<std::decay_t<Fn>&, std::decay_t<Args>...>;
    static_assert(is_task_v<Returned>, "the function must be a coroutine that returns a Task");
    using Value = typename Returned::value_type;
    using Record = SpawnedTask<Value, std::decay_t<Fn>, std::decay_t<Args>...>;
};

/// Creates the task `fn(args...)`.
template <class Fn, class... Args>
auto* make_spawned_task(const TaskName& name, Fn&& fn, Args&&... args) {
    using Record = typename SpawnTraits<Fn, Args...>::Record;
    return new Record(name, std::forward<Fn>(fn), std::forward<Args>(args)...);
}

} // namespace ringlet
