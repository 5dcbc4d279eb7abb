#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/task.hpp>

#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// What `co_await` accepts: an awaiter, or a task passed as an rvalue.
template <class A>
concept Awaitable = is_task_v<std::remove_cvref_t<A>> ||
                    requires(std::remove_reference_t<A>& awaiter) { awaiter.await_resume(); };

/// Turns an awaitable into a task. A task is moved, and so is a temporary operation. An operation that cannot be moved,
/// or that has a name, is held by reference: it is awaited at once, in the same expression.
template <class A>
struct AsTask {
    using Operation = std::remove_reference_t<A>;
    // An operation has no coroutine function of its own: messages show the task that awaits it.
    static constexpr bool has_name = false;
    using Value = decltype(std::declval<Operation&>().await_resume());

    static Task<Value> make(A&& awaitable) {
        if constexpr (!std::is_lvalue_reference_v<A> && std::is_move_constructible_v<Operation>) {
            return await_own(std::move(awaitable));
        } else {
            return await_other(awaitable);
        }
    }

private:
    static Task<Value> await_own(Operation awaitable) {
        auto answer = co_await awaitable;
        co_return answer;
    }
    static Task<Value> await_other(Operation& awaitable) {
        auto answer = co_await awaitable;
        co_return answer;
    }
};
template <class A>
    requires is_task_v<std::remove_cvref_t<A>>
struct AsTask<A> {
    static constexpr bool has_name = true;
    using Value = typename std::remove_cvref_t<A>::value_type;
    static Task<Value> make(std::remove_cvref_t<A>& task) { return std::move(task); }
    static Task<Value> make(std::remove_cvref_t<A>&& task) { return std::move(task); }
};

} // namespace ringlet
