#pragma once

#include <ringlet/backend.hpp>
#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/error.hpp>
#include <ringlet/loop_options.hpp>
#include <ringlet/result.hpp>
#include <ringlet/statistics.hpp>
#include <ringlet/task_list.hpp>
#include <ringlet/task_name.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Runs coroutines on one thread and resumes each when the kernel has finished its operation.
///
///     auto loop = EventLoop::create();
///     if (!loop) return exit_status(loop.error());
///     auto answer = loop->run(ask, std::string("127.0.0.1:3200"));
///
/// Lifetime  Outlives every task that runs on it; streams and listeners may outlive it, and can then
///           only be dropped. Does not move.
/// Thread    `create`, `run` and everything else on one thread; others may only call `post` and `stop`.
class EventLoop final : private LoopCore {
    struct Key {
        explicit Key() = default;
    };

public:
    /// Sets up the ring.
    ///
    /// Errors    For `Backend::io_uring`, why it is refused: `io_uring_disabled`, `io_uring_forbidden`,
    ///           `io_uring_missing`, `io_uring_unsupported`, `io_uring_locked_memory`,
    ///           `io_uring_too_old`. Their messages say what to change. For every backend,
    ///           `too_many_files_open` and `unknown_backend`.
    static Result<EventLoop> create(LoopOptions options = {});

    EventLoop(Key, std::unique_ptr<Ring> ring, BackendChoice backend, UniqueFd wake_fd,
              LoopOptions options);
    ~EventLoop();

    /// Calls `fn(args...)`, which must return a `Task`, and turns until that task has finished.
    ///
    /// Then, or after `stop`, everything that is still alive is cancelled and waited for: operations
    /// in flight end with `operation_canceled`, and so does every later await. Memory that the kernel
    /// could still write to is not freed until the kernel has answered.
    ///
    /// Lifetime  `fn` and `args` are moved into the task and live until it has finished.
    /// Returns   What the task returned; a `Task<Result<T>>` gives a `Result<T>`, not two.
    /// Errors    `would_block_forever` if every task waits for another one: nothing is in flight, no
    ///           timer is armed, and this process has no other thread that could post and no signal
    ///           handler that could stop the loop. The tasks are reported, then cancelled.
    ///           `operation_canceled` if `stop` cut a `Task<>` short, or if any task went on awaiting
    ///           regardless. What the task throws is thrown.
    template <class Fn, class... Args>
    auto run(TaskName name, Fn&& fn, Args&&... args);
    template <Unnamed Fn, class... Args>
    auto run(Fn&& fn, Args&&... args) {
        return run(TaskName::of_function(), std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// Starts `fn(args...)` as a task of its own at the loop's next turn.
    ///
    /// Pass a function and its arguments, not a task: the captures of a lambda that was already
    /// called would be gone before its coroutine runs.
    ///
    /// Only the loop waits for such a task; in a `TaskGroup` a scope waits for it and takes its
    /// failures. A name may come before the callable: `spawn("ticker", tick, 1s)`.
    ///
    /// Lifetime  `fn` and `args` are moved into the task and live until it has finished.
    /// Errors    What the task throws or returns as an error goes to `LoopOptions::report`.
    /// Cost      Two blocks from the pool: the frame and the record.
    template <class Fn, class... Args>
    void spawn(TaskName name, Fn&& fn, Args&&... args);
    template <Unnamed Fn, class... Args>
    void spawn(Fn&& fn, Args&&... args) {
        spawn(TaskName::of_function(), std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// Calls `fn()` on the loop's thread, soon. Never called if the loop is destroyed first.
    ///
    /// Thread    Any.
    /// Cost      One allocation; one write to an eventfd if the mailbox was empty.
    template <class Fn>
    void post(Fn&& fn) {
        LoopCore::post(std::forward<Fn>(fn));
    }

    /// Makes `run` cancel everything and return. If called before `run`, `run` returns at once.
    ///
    /// Thread    Any, even in a signal handler.
    void stop() noexcept { LoopCore::stop(); }

    /// The time when the kernel last handed over completions. Exact to one turn, and free.
    [[nodiscard]] Clock::time_point now() const noexcept { return LoopCore::now(); }

    [[nodiscard]] LoopStats stats() const noexcept { return LoopCore::stats(); }

    /// What this loop runs on and, if that is not io_uring, why.
    [[nodiscard]] const BackendChoice& backend() const noexcept { return LoopCore::backend(); }

    /// The live tasks, as a tree of who spawned whom. Shows each task's name and place (`TaskName`), what it waits for
    /// (opcode, descriptor and peer, or the primitive) and for how long. Tasks that are alike share one line, unless
    /// the form is `TaskList::full`. For operators; the format may change.
    ///
    /// Thread    The loop's own, which includes posted functions.
    [[nodiscard]] std::string dump(TaskList form = TaskList::summary) const {
        return LoopCore::dump(form);
    }

    /// Gives one line to `LoopOptions::report`.
    void report(std::string_view line) const { LoopCore::report(line); }

    /// Cancels every receive and send that `TcpStream::limit_idle_time` has marked and that has made no
    /// progress for `limit`. They end with `timed_out`.
    void cancel_idle(Clock::duration limit) { LoopCore::cancel_idle(limit); }

    /// Ends up to `at_most` receives of the same streams with `operation_canceled`: those that have waited for at
    /// least `rest`, the longest first. A draining server ends connections at rest with it.
    ///
    /// Thread    The loop's own, which includes posted functions.
    /// Returns   How many it ended.
    std::size_t end_resting(Clock::duration rest, std::size_t at_most) {
        return LoopCore::end_resting(rest, at_most);
    }

    /// How many accepted connections fit into the ring's own table (`RingFeatures::direct_descriptors`).
    /// 0: it has none.
    [[nodiscard]] std::size_t direct_descriptor_limit() const noexcept {
        return LoopCore::direct_descriptor_limit();
    }

    // For ringlet itself.
    [[nodiscard]] LoopCore& core() noexcept { return *this; }
    [[nodiscard]] static EventLoop& of(LoopCore& core) noexcept {
        return static_cast<EventLoop&>(core);
    }
};

template <class Fn, class... Args>
void EventLoop::spawn(TaskName name, Fn&& fn, Args&&... args) {
    TaskRecord& record =
        *make_spawned_task(name, std::forward<Fn>(fn), std::forward<Args>(args)...);
    if (!adopt(record, scope(), *this)) record.release_reference();
}

template <class Fn, class... Args>
auto EventLoop::run(TaskName name, Fn&& fn, Args&&... args) {
    auto& root = *make_spawned_task(name, std::forward<Fn>(fn), std::forward<Args>(args)...);
    const TaskReference kept(root);
    run_root(root);
    const bool was_stuck = take_stuck();
    auto outcome = root.take_outcome();
    if (was_stuck) return decltype(outcome)(Errc::would_block_forever);
    return outcome;
}

} // namespace ringlet
