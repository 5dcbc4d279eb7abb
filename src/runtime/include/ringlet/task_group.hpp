#pragma once

#include <ringlet/deadline.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/body_remains.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/group_core.hpp>
#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/join_handle.hpp>
#include <ringlet/ready.hpp>
#include <ringlet/task.hpp>
#include <ringlet/task_name.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A group of tasks that ends when all of them have. Created by `with_task_group`.
///
/// Lifetime  Until `with_task_group` has returned.
/// Thread    One loop's thread.
class TaskGroup {
public:
    explicit TaskGroup(GroupCore& core) noexcept : core_(&core) {}
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;

    /// Starts the coroutine `fn(args...)` at the loop's next turn: `spawn(fn, args...)`, or with a name
    /// first, `spawn("reader", fn, args...)`.
    ///
    /// Lifetime  `fn` and `args` are moved into the task and live until it has ended.
    /// Returns   `JoinHandle<T>` if the coroutine returns `Task<T>`. You need not keep it.
    /// Cancel    In a cancelled group the task does not start; `join` gives `operation_canceled`.
    /// Errors    An error that the task returns, or an exception that it throws, is a failure of the group.
    /// Cost      Two blocks from the pool: the frame and the record.
    template <class Fn, class... Args>
    auto spawn(TaskName name, Fn&& fn, Args&&... args) {
        return core_->start_with_handle(
            *make_spawned_task(name, std::forward<Fn>(fn), std::forward<Args>(args)...));
    }
    template <Unnamed Fn, class... Args>
    auto spawn(Fn&& fn, Args&&... args) {
        return spawn(TaskName::of_function(), std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// Starts `fn(ready, args...)` and waits until the task has called `ready(value)`:
    /// `auto address = co_await group.start<Endpoint>(listen, port);` for a coroutine
    /// `Task<> listen(Ready<Endpoint> ready, int port)`. The task then continues in the group.
    ///
    /// Suspends  Until the task has reported that it is ready, or has ended.
    /// Cancel    Cancels the task, and ends with `operation_canceled` once it has ended.
    /// Returns   `Result<V>`; `start(...)` without a type, for `Ready<>`, a `Result<void>`.
    /// Errors    What the task returned if it ended first, `operation_canceled` if it threw (the group
    ///           has the exception), `task_not_ready` if it succeeded without calling `ready`.
    template <class V = void, class Fn, class... Args>
    auto start(TaskName name, Fn&& fn, Args&&... args);
    template <class V = void, Unnamed Fn, class... Args>
    auto start(Fn&& fn, Args&&... args) {
        return start<V>(TaskName::of_function(), std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// Cancels every task in the group, and whatever the body is awaiting.
    void cancel(CancelReason reason = CancelReason::requested) noexcept {
        core_->scope.cancel(reason);
    }

    /// Waits until no task is left, without ending the group: more can be spawned later.
    ///
    /// Suspends  If there are tasks.
    /// Cancel    Ends with `operation_canceled`; the tasks continue.
    [[nodiscard]] GroupIdleAwaiter wait_until_idle() noexcept { return GroupIdleAwaiter(*core_); }

    /// The number of tasks that have not ended.
    [[nodiscard]] std::size_t size() const noexcept { return core_->size(); }

private:
    GroupCore* core_;
};

/// What `BoundedTaskGroup::spawn` returns; await it at once.
template <class Fn, class... Args>
class [[nodiscard]] BoundedSpawn final : public GroupSlotAwaiter {
public:
    BoundedSpawn(GroupCore& group, TaskName name, Fn&& fn, Args&&... args) noexcept
        : GroupSlotAwaiter(group), name_(name),
          call_(std::forward<Fn>(fn), std::forward<Args>(args)...) {}

    auto await_resume() {
        using Handle = JoinHandle<typename SpawnTraits<Fn, Args...>::Value>;
        const auto room = GroupSlotAwaiter::await_resume();
        if (!room) return Result<Handle>(room.error());
        Result<Handle> handle(std::apply(
            [this](auto&&... part) {
                return group_->start_with_handle(
                    *make_spawned_task(name_, std::forward<decltype(part)>(part)...));
            },
            std::move(call_)));
        handed_over.give_back(); // the task has taken the place
        return handle;
    }

private:
    TaskName name_;
    std::tuple<Fn&&, Args&&...> call_;
};

/// A group that limits how many tasks are alive at once. Created by `with_bounded_task_group`.
///
/// Lifetime  Until `with_bounded_task_group` has returned.
/// Thread    One loop's thread.
class BoundedTaskGroup {
public:
    explicit BoundedTaskGroup(GroupCore& core) noexcept : core_(&core) {}
    BoundedTaskGroup(const BoundedTaskGroup&) = delete;
    BoundedTaskGroup& operator=(const BoundedTaskGroup&) = delete;

    /// As `TaskGroup::spawn`, when there is room: `auto handle = co_await group.spawn(fn, args...);`
    ///
    /// Suspends  While the group is at its limit. Waiters go in FIFO order.
    /// Cancel    Ends with `operation_canceled`; `fn` and `args` have not been moved from.
    /// Returns   `Result<JoinHandle<T>>`.
    template <class Fn, class... Args>
    [[nodiscard]] auto spawn(TaskName name, Fn&& fn, Args&&... args) {
        return BoundedSpawn<Fn, Args...>(*core_, name, std::forward<Fn>(fn),
                                         std::forward<Args>(args)...);
    }
    template <Unnamed Fn, class... Args>
    [[nodiscard]] auto spawn(Fn&& fn, Args&&... args) {
        return spawn(TaskName::of_function(), std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// As `TaskGroup::spawn`, if there is room and no other task waits for it. Otherwise returns
    /// nothing, and `fn` and `args` have not been moved from.
    template <class Fn, class... Args>
    auto try_spawn(TaskName name, Fn&& fn, Args&&... args) {
        using Handle = JoinHandle<typename SpawnTraits<Fn, Args...>::Value>;
        std::optional<Handle> handle;
        if (core_->slots.empty() && core_->has_room() && !core_->scope.is_cancelled()) {
            handle = core_->start_with_handle(
                *make_spawned_task(name, std::forward<Fn>(fn), std::forward<Args>(args)...));
        }
        return handle;
    }
    template <Unnamed Fn, class... Args>
    auto try_spawn(Fn&& fn, Args&&... args) {
        return try_spawn(TaskName::of_function(), std::forward<Fn>(fn),
                         std::forward<Args>(args)...);
    }

    /// Waits until there is room for one more task. The next `spawn` does not wait unless another task
    /// spawns first.
    ///
    /// Cancel    Ends with `operation_canceled`.
    [[nodiscard]] GroupRoomAwaiter wait_for_room() noexcept { return GroupRoomAwaiter(*core_); }

    /// As in `TaskGroup`.
    void cancel(CancelReason reason = CancelReason::requested) noexcept {
        core_->scope.cancel(reason);
    }
    /// As in `TaskGroup`.
    [[nodiscard]] GroupIdleAwaiter wait_until_idle() noexcept { return GroupIdleAwaiter(*core_); }
    /// As in `TaskGroup`.
    [[nodiscard]] std::size_t size() const noexcept { return core_->size(); }

private:
    GroupCore* core_;
};

template <class V, class Fn, class... Args>
auto TaskGroup::start(TaskName name, Fn&& fn, Args&&... args) {
    auto* state = new ReadyState<V>;
    Ready<V> if_none_is_made(state);
    auto& task = *make_spawned_task(name, std::forward<Fn>(fn), Ready<V>(state),
                                    std::forward<Args>(args)...);
    if_none_is_made.leave();
    using Returned = typename SpawnTraits<Fn, Ready<V>, Args...>::Value;
    return StartAwaiter<V, Returned>(*core_, task, state);
}

// The coroutine behind `with_task_group`. `Fn` is a reference for a callable that has a name.
template <class Group, class Remains, class Fn>
auto run_task_group(Fn fn, GroupOptions options, std::size_t limit)
    -> Task<Outcome<typename std::invoke_result_t<Fn&, Group&>::value_type>> {
    using Value = typename std::invoke_result_t<Fn&, Group&>::value_type;
    using Returned = Outcome<Value>;
    GroupAdmission admission;
    auto may_begin = co_await admission;
    if (!may_begin) co_return may_begin.error();
    GroupCore core(*admission.outer, options, limit);
    Group group(core);
    std::optional<Returned> returned;
    std::invoke_result_t<Fn&, Group&> body;
    try {
        body = fn(group);
        if constexpr (std::is_void_v<Value>) {
            co_await std::move(body).in(&core.scope);
            returned.emplace();
        } else {
            auto value = co_await std::move(body).in(&core.scope);
            returned.emplace(std::move(value));
        }
        if (returned->error()) core.body_failed(returned->error(), nullptr);
    } catch (...) {
        core.body_failed({}, std::current_exception());
    }
    Remains remains(options.name);
    // NOLINTNEXTLINE(bugprone-use-after-move): awaiting moves nothing out of it
    if (body && !core.has_ended()) remains.keep(body);
    while (!core.has_ended()) co_await GroupEndAwaiter(core);
    constexpr bool has_value = !std::is_void_v<typename Returned::value_type>;
    const std::error_code failed = core.finish(has_value);
    if (failed) co_return failed;
    co_return std::move(*returned);
}

/// Runs the coroutine `fn(group)` and waits until every task spawned in the group has ended: no task
/// outlives the scope in which it was spawned.
///
///     auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
///         group.spawn(send_lines, &stream);
///         group.spawn(print_lines, &stream);
///         co_return;
///     });
///
/// The first failure of the body or a task, a returned error or an exception, cancels all the others.
///
/// Lifetime  The body is its own coroutine: its local variables are destroyed when it returns, before its tasks
///           have ended. Declare what tasks use before `with_task_group`. Debug and ASan builds keep the memory of
///           the body's frame to catch this mistake, and abort with the group's name.
/// Suspends  Until the body and all tasks have ended.
/// Cancel    Cancels the body and all tasks, and waits for them. In a scope that is already cancelled the body
///           does not start: `operation_canceled`.
/// Returns   What the body returned, as a `Result`.
/// Errors    The first failure: an error is returned, an exception is thrown. All others go to
///           `GroupOptions::failures`, or to `LoopOptions::report`. `operation_canceled` if a
///           cancellation from outside cut the body or a task short, unless the body returns a value.
/// Cost      Two frames, and one block for handles.
template <class Fn>
[[nodiscard]] auto with_task_group(Fn&& fn, GroupOptions options = {}) {
    RINGLET_ASSERT_SAFE_IN_CO_AWAIT(Fn);
    static_assert(std::is_invocable_v<Fn&, TaskGroup&>, "the body takes a TaskGroup&");
    return run_task_group<TaskGroup, CheckedBodyRemains, Fn>(
        std::forward<Fn>(fn), options, std::numeric_limits<std::size_t>::max());
}

/// As `with_task_group`, with a `BoundedTaskGroup&` in which at most `limit` tasks are alive at once.
template <class Fn>
[[nodiscard]] auto with_bounded_task_group(std::size_t limit, Fn&& fn, GroupOptions options = {}) {
    RINGLET_ASSERT_SAFE_IN_CO_AWAIT(Fn);
    static_assert(std::is_invocable_v<Fn&, BoundedTaskGroup&>,
                  "the body takes a BoundedTaskGroup&");
    RINGLET_ASSERT(limit > 0, "a bounded group needs room for one task");
    return run_task_group<BoundedTaskGroup, CheckedBodyRemains, Fn>(std::forward<Fn>(fn), options,
                                                                    limit);
}

} // namespace ringlet
