#pragma once

#include <ringlet/intrusive_list.hpp>
#include <ringlet/mailbox.hpp>
#include <ringlet/operation.hpp>
#include <ringlet/ready_queue.hpp>
#include <ringlet/result.hpp>
#include <ringlet/ring.hpp>
#include <ringlet/task_record.hpp>
#include <ringlet/timers.hpp>
#include <ringlet/unique_fd.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

namespace ringlet {

/// How an `EventLoop` is made.
struct LoopOptions {
    /// Submissions that fit between two waits. A full queue is flushed, so this is not a limit on
    /// operations in flight. Rounded up to a power of two by the kernel, at most 32,768.
    unsigned ring_entries = 1024;

    /// Is told what nobody else would see: an exception that left a spawned task, an error that it
    /// returned, a task that ignores its cancellation. One line of text, without a newline.
    /// Empty: writes `ringlet: LINE` to stderr.
    std::function<void(std::string_view line)> report = {};
};

/// What a loop has done since it was made, and holds now.
struct LoopStats {
    std::uint64_t turns = 0;
    std::uint64_t resumptions = 0;
    std::size_t live_tasks = 0;
    std::size_t operations_in_flight = 0;
    std::size_t armed_timers = 0;
    RingStats ring;
};

/// Runs coroutines on one thread and resumes each when the kernel has finished its operation.
///
///     auto loop = EventLoop::create();
///     if (!loop) return exit_status(loop.error());
///     auto answer = loop->run(ask, std::string("127.0.0.1:3200"));
///
/// Lifetime  Outlives every task, stream and listener that was used on it. Does not move.
/// Thread    `create`, `run` and everything else on one thread; only `post` and `stop` from others.
class EventLoop {
    struct Key {
        explicit Key() = default;
    };

public:
    /// Sets up the ring.
    ///
    /// Errors    `io_uring_disabled`, `io_uring_forbidden`, `io_uring_missing`,
    ///           `io_uring_unsupported`, `io_uring_locked_memory`, `io_uring_too_old`, whose
    ///           messages say what to change; `too_many_files_open`.
    static Result<EventLoop> create(LoopOptions options = {});

    EventLoop(Key, std::unique_ptr<Ring> ring, UniqueFd wake_fd, LoopOptions options);
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;
    ~EventLoop();

    /// Calls `fn(args...)`, which must return a `Task`, and turns until that task has finished.
    ///
    /// When it has, or after `stop`, everything that is still alive is cancelled and waited for:
    /// operations in flight end with `operation_canceled`, and so does every later await. Nothing
    /// that the kernel could still write to is freed before it has answered.
    ///
    /// Lifetime  `fn` and `args` are moved into the task and live until it has finished.
    /// Returns   What the task returned; a `Task<Result<T>>` gives a `Result<T>`, not two.
    /// Errors    `operation_canceled` if the task was stopped and went on awaiting regardless (see
    ///           `answers_after_cancel_limit`). What the task throws is thrown.
    template <class Fn, class... Args>
    auto run(Fn&& fn, Args&&... args);

    /// Starts `fn(args...)` as a task of its own at the loop's next turn.
    ///
    /// Pass a function and its arguments, not a task: the captures of a lambda that was already
    /// called would be gone before its coroutine runs.
    ///
    /// Lifetime  `fn` and `args` are moved into the task and live until it has finished.
    /// Errors    What the task throws or returns as an error goes to `LoopOptions::report`.
    /// Cost      Two blocks from the pool: the frame and the record.
    template <class Fn, class... Args>
    void spawn(Fn&& fn, Args&&... args);

    /// Calls `fn()` on the loop's thread, soon. Never called if the loop is destroyed first.
    ///
    /// Thread    Any.
    /// Cost      One allocation; one write to an eventfd if the mailbox was empty.
    template <class Fn>
    void post(Fn&& fn);

    /// Makes `run` cancel everything and return. Before `run`: it returns at once.
    ///
    /// Thread    Any; also in a signal handler.
    void stop() noexcept;

    /// The time when the kernel last handed over completions: exact to one turn, costs nothing.
    [[nodiscard]] Clock::time_point now() const noexcept { return now_; }

    [[nodiscard]] LoopStats stats() const noexcept;

    /// Gives one line to `LoopOptions::report`.
    void report(std::string_view line) const;

    // What awaiters need. Handlers do not call these.

    /// The one place where a cancelled task learns of it.
    enum class Admission {
        proceed, ///< go on and suspend
        refuse,  ///< answer `operation_canceled` at once, without touching the kernel
        park     ///< suspend for good: the task has ignored too many refusals
    };
    [[nodiscard]] Admission admit(TaskContext& context);

    /// Starts an operation for the coroutine that waits for it. Returns false when it was refused:
    /// then the answer is there and nobody suspends.
    [[nodiscard]] bool start(Operation& operation, TaskContext& context,
                             std::coroutine_handle<> waiter);

    /// Asks for an operation back; its waiter is resumed by its own completion.
    void cancel(Operation& operation, int as_errno);

    /// Cancels every operation marked `idle_limited` that has made no progress for `limit`; it ends
    /// with `timed_out`.
    void cancel_idle(Clock::duration limit);

    void make_ready(Resumable& resumable) noexcept { ready_.push(resumable); }
    [[nodiscard]] Timers& timers() noexcept { return timers_; }

    /// Gives the loop a task to own and to start.
    ///
    /// While everything is being cancelled a new task is dropped before it starts.
    void adopt(std::unique_ptr<TaskRecord> record);

    /// Notes that a task has run to its end; it is reaped at the end of the turn.
    void note_finished(TaskRecord& record) noexcept;

    /// A task may be answered this often after its cancellation before the loop stops asking it.
    static constexpr std::uint32_t answers_after_cancel_limit = 1000;
    /// Resumptions between two looks at the kernel, when tasks stay ready all the time.
    static constexpr std::uint32_t resumptions_per_wait_limit = 256;

private:
    void turn();
    void collect();
    void settle(const Completion& completion);
    void resume_ready();
    void reap();
    void run_root(TaskRecord& root);
    void enlist(TaskRecord& record);
    void leave();
    void bury_parked() noexcept;
    void watch_for_wake();
    void wake() noexcept;
    void assert_thread() const;
    template <class Fn, class... Args>
    auto make_record(Fn&& fn, Args&&... args);

    std::unique_ptr<Ring> ring_;
    ReadyQueue ready_;
    Timers timers_;
    IntrusiveList<Operation> in_flight_;
    IntrusiveList<TaskRecord> tasks_;
    TaskRecord* finished_ = nullptr;
    TaskRecord* root_ = nullptr; // owned by run, not by the loop
    Clock::time_point now_;
    std::uint32_t resumed_since_collect_ = 0;
    bool unsubmitted_ = false;
    bool leaving_ = false;
    bool mail_waiting_ = false;
    std::size_t live_tasks_ = 0;
    std::size_t in_flight_count_ = 0;
    std::uint64_t turns_ = 0;
    std::uint64_t resumptions_ = 0;

    Mailbox mailbox_;
    std::atomic<bool> stop_requested_{false};
    UniqueFd wake_fd_;
    Operation wake_;
    std::uint64_t wake_count_ = 0; // what the kernel writes when wake_fd_ is read
    std::thread::id thread_;
    LoopOptions options_;
};

template <class Fn, class... Args>
auto EventLoop::make_record(Fn&& fn, Args&&... args) {
    static_assert(!is_task_v<std::decay_t<Fn>>,
                  "pass the function and its arguments, not a task: spawn(fn, args...)");
    static_assert(
        std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<Args>...>,
        "the function cannot be called with these arguments; they are moved into the task, "
        "so that a parameter cannot be a non-const reference: pass a pointer or std::ref");
    using Returned = std::invoke_result_t<std::decay_t<Fn>&, std::decay_t<Args>...>;
    static_assert(is_task_v<Returned>, "the function must be a coroutine that returns a Task");
    return std::make_unique<
        SpawnedTask<typename Returned::value_type, std::decay_t<Fn>, std::decay_t<Args>...>>(
        std::forward<Fn>(fn), std::forward<Args>(args)...);
}

template <class Fn, class... Args>
void EventLoop::spawn(Fn&& fn, Args&&... args) {
    adopt(make_record(std::forward<Fn>(fn), std::forward<Args>(args)...));
}

template <class Fn, class... Args>
auto EventLoop::run(Fn&& fn, Args&&... args) {
    auto root = make_record(std::forward<Fn>(fn), std::forward<Args>(args)...);
    run_root(*root);
    return root->take_result();
}

template <class Fn>
void EventLoop::post(Fn&& fn) {
    using Letter = FunctionLetter<std::decay_t<Fn>>;
    if (mailbox_.put(std::make_unique<Letter>(std::forward<Fn>(fn)))) wake();
}

} // namespace ringlet
