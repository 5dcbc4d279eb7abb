#pragma once

#include <ringlet/backend.hpp>
#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/intrusive_list.hpp>
#include <ringlet/detail/mailbox.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/detail/ready_queue.hpp>
#include <ringlet/detail/ring.hpp>
#include <ringlet/detail/task_record.hpp>
#include <ringlet/detail/timers.hpp>
#include <ringlet/duration_histogram.hpp>
#include <ringlet/error.hpp>
#include <ringlet/loop_options.hpp>
#include <ringlet/result.hpp>
#include <ringlet/statistics.hpp>
#include <ringlet/task_list.hpp>
#include <ringlet/unique_fd.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

namespace ringlet { // not exported: private classes
class ThreadPool;
class Watchdog;
} // namespace ringlet

namespace RINGLET_EXPORT ringlet {

class BlockingJob;

/// Ties a descriptor to the loop that uses it, whose ring knows it and must be told when it closes.
///
/// Lifetime  May outlive the loop; `loop` is then null.
struct DescriptorUse : ListHook {
    LoopCore* loop = nullptr;
};

/// The loop itself, as awaiters, streams and groups use it. `EventLoop` is the users' view of it.
///
/// Thread    The loop's own, except for `stop` and `post`.
class LoopCore : public TaskOwner {
public:
    LoopCore(const LoopCore&) = delete;
    LoopCore& operator=(const LoopCore&) = delete;

    // Users call these, too: see `EventLoop`.
    template <class Fn>
    void post(Fn&& fn) {
        post_letter(letter(std::forward<Fn>(fn)));
    }
    void stop() noexcept;
    [[nodiscard]] Clock::time_point now() const noexcept { return now_; }
    [[nodiscard]] LoopStats stats() const noexcept;
    [[nodiscard]] const BackendChoice& backend() const noexcept { return backend_; }
    [[nodiscard]] std::string dump(TaskList form = TaskList::summary) const;
    void report(std::string_view line) const noexcept;
    void cancel_idle(Clock::duration limit);
    std::size_t end_resting(Clock::duration rest, std::size_t at_most);

    /// `post` in two steps, of which only the first can fail.
    template <class Fn>
    [[nodiscard]] static std::unique_ptr<Mailbox::Letter> letter(Fn&& fn) {
        return std::make_unique<FunctionLetter<std::decay_t<Fn>>>(std::forward<Fn>(fn));
    }
    void post_letter(std::unique_ptr<Mailbox::Letter> letter) noexcept {
        if (mailbox_.put(std::move(letter))) wake();
    }

    /// The task whose coroutine now runs on this thread; null outside of any task. For messages.
    [[nodiscard]] static TaskRecord* current_task() noexcept;

    /// The only place where a cancelled task learns of its cancellation.
    enum class Admission {
        proceed, ///< continue and suspend
        refuse,  ///< answer `operation_canceled` at once, without touching the kernel
        yield,   ///< the same, after all others had a turn: the task has ignored too many refusals
        abandon  ///< suspend for good: the loop is shutting down, and the task still does not end
    };
    [[nodiscard]] Admission admit(CancelScope& scope) {
        if (!scope.is_cancelled()) [[likely]]
            return Admission::proceed;
        scope.note_answered();
        return count_refusal(scope);
    }
    /// Like `admit`, for a call that proceeds anyway: it cuts nothing short, but counts as an answer.
    [[nodiscard]] Admission admit_without_note(CancelScope& scope) {
        if (!scope.is_cancelled()) [[likely]]
            return Admission::proceed;
        return count_refusal(scope);
    }
    /// Like `admit`, for a shield, which a cancellation does not stop. Only a task that opens shield after shield
    /// without ever waiting is eventually refused.
    [[nodiscard]] Admission admit_shielded(CancelScope& scope) {
        const auto admission = admit_without_note(scope);
        return admission == Admission::refuse ? Admission::proceed : admission;
    }
    /// What `await_suspend` returns for an await that was not admitted.
    [[nodiscard]] bool suspend_refused(Admission admission, CancelScope& scope,
                                       std::coroutine_handle<> waiter) noexcept {
        if (admission == Admission::yield) resume_next_turn(scope, waiter);
        return admission >= Admission::yield;
    }

    void make_ready(Wait& wait) noexcept { ready_.push(wait); }
    /// The coroutine is destroyed before its turn.
    void forget_ready(Wait& wait) noexcept { ready_.remove(wait); }

    /// What `await_suspend` returns for an await that already has its answer. After
    /// `immediate_answers_limit` of these in a row it suspends, so that others get their turn.
    [[nodiscard]] bool answered_at_once(CancelScope& scope,
                                        std::coroutine_handle<> waiter) noexcept {
        if (immediate_answers_++ < immediate_answers_limit) [[likely]]
            return false;
        resume_next_turn(scope, waiter);
        return true;
    }

    /// Suspends a coroutine until every other ready coroutine has had a turn.
    void resume_next_turn(CancelScope& scope, std::coroutine_handle<> waiter) noexcept;

    /// Proof that the caller has asked `admit`: the only way to suspend.
    class Admitted {
        friend class LoopCore;
        friend class Suspension;
        Admitted() = default;
    };
    /// Records what a coroutine waits for. `make_ready(wait)` resumes it.
    void note_wait(Admitted, Wait& wait, CancelScope& scope,
                   std::coroutine_handle<> waiter) noexcept {
        wait.scope = &scope;
        wait.waiter = waiter;
        wait.since = now_;
        scope.wait = &wait;
    }

    /// Starts an operation for the coroutine that waits for it. Returns false if it was refused: the
    /// answer is already there, and the caller does not suspend.
    [[nodiscard]] bool start(Operation& operation, CancelScope& scope,
                             std::coroutine_handle<> waiter) {
        if (scope.is_cancelled()) [[unlikely]]
            return refuse(operation, scope, waiter);
        note_wait(Admitted(), operation, scope, waiter);
        operation.state = Operation::State::in_flight;
        keep_age(operation);
        ++in_flight_count_;
        ++in_flight_of_[static_cast<std::size_t>(operation.opcode)];
        unsubmitted_ = true;
        ring_->start(operation);
        return true;
    }

    /// Like `start`, for an operation that has nothing to do.
    [[nodiscard]] bool finish_at_once(Operation& operation, CancelScope& scope,
                                      std::coroutine_handle<> waiter);

    /// Asks the kernel to cancel an operation; its own completion resumes the waiter.
    void cancel(Operation& operation, int as_errno);

    /// An operation in flight has been marked: it counts as idle from now on.
    void limit_idle_time(Operation& operation) noexcept;

    /// This loop uses the descriptor from now on.
    void use_descriptor(DescriptorUse& use) noexcept {
        use.loop = this;
        used_.push_back(use);
    }

    /// Closes a descriptor that was used here and has nothing in flight.
    void close(Descriptor descriptor, DescriptorUse& use) noexcept {
        use.unlink();
        close(descriptor);
    }
    void close(Descriptor descriptor) noexcept { ring_->close(descriptor); }

    /// See `Ring::direct_descriptor_limit`, `Ring::install` and `Ring::adopt`.
    [[nodiscard]] std::size_t direct_descriptor_limit() const noexcept {
        return ring_->direct_descriptor_limit();
    }
    [[nodiscard]] Result<UniqueFd> install(Descriptor descriptor) {
        return ring_->install(descriptor);
    }
    [[nodiscard]] Result<Descriptor> adopt(int fd) { return ring_->adopt(fd); }
    [[nodiscard]] UniqueFd take_accepted(int listener) { return ring_->take_accepted(listener); }
    void stop_accepting(int listener) noexcept { ring_->stop_accepting(listener); }
    [[nodiscard]] bool receives_ahead() const noexcept { return ring_->receives_ahead(); }
    [[nodiscard]] bool has_received(Descriptor descriptor) const noexcept {
        return ring_->has_received(descriptor);
    }

    /// Counts bytes that were sent without an operation.
    void note_sent_bytes(std::size_t count) noexcept {
        moved_bytes_[static_cast<std::size_t>(Opcode::send)] += count;
    }

    [[nodiscard]] Timers& timers() noexcept { return timers_; }
    /// A deadline has cancelled its scope.
    void note_expired_deadline() noexcept { ++expired_deadlines_; }

    /// The outermost scope, which contains all tasks.
    [[nodiscard]] CancelScope& scope() noexcept { return scope_; }

    /// Gives the loop a task to start at its next turn, in `parent`. The loop takes over its first
    /// reference. Returns false if the scope is cancelled: then the task does not start, and the caller
    /// keeps the reference.
    [[nodiscard]] bool adopt(TaskRecord& record, CancelScope& parent, TaskOwner& owner) noexcept;

    /// Records that a task has run to its end; it is reaped at the end of the turn.
    void note_finished(TaskRecord& record) noexcept { finished_.push(record); }

    /// A wait for another thread begins or ends. While there is one, the loop may sleep with nothing
    /// else to wait for.
    void expect_other_thread(bool begins) noexcept { other_thread_waits_ += begins ? 1 : -1; }
    /// Counts threads that serve this loop and wake it only for waits counted above.
    void count_own_thread(bool begins) noexcept { own_threads_ += begins ? 1 : -1; }

    /// Runs a job on a pool thread, then makes `waiter` ready on this one.
    ///
    /// Errors    `resource_unavailable_try_again`: there is no thread, and none can be created.
    [[nodiscard]] std::error_code run_on_other_thread(std::shared_ptr<BlockingJob> job,
                                                      Wait& waiter);
    /// The job has run, and its waiter still exists.
    void blocking_job_ended(BlockingJob& job) noexcept;
    /// The job's waiter has gone.
    void forget_blocking_job(const BlockingJob& job) noexcept;

    // The loop owns the tasks that were spawned on the loop itself.
    void task_ended(TaskRecord& record) noexcept override;
    [[nodiscard]] const char* name() const noexcept override { return "the loop"; }

    /// How many awaits in a row of a cancelled task are answered at once. After that each answer lets
    /// others run first, and the task is reported.
    static constexpr std::uint32_t answers_after_cancel_limit = 1000;
    /// How many more answers a task gets if it still ignores its cancellation while the loop shuts
    /// down. Then it is destroyed while suspended.
    static constexpr std::uint32_t answers_while_leaving_limit = 1000;
    /// Awaits in a row that may answer without suspending before one lets others run first.
    static constexpr std::uint32_t immediate_answers_limit = 128;
    /// Resumptions between two polls of the kernel, if tasks are ready all the time.
    static constexpr std::uint32_t resumptions_per_wait_limit = 256;
    /// Stuck tasks to report when none can continue.
    static constexpr std::size_t stuck_tasks_reported_limit = 1000;
    /// Receives to park in one turn.
    static constexpr std::size_t parks_per_turn_limit = 256;
    /// Waits in a row shorter than `LoopOptions::busy_poll` before the loop starts to poll.
    static constexpr int short_waits_before_busy_poll = 4;

protected:
    LoopCore(std::unique_ptr<Ring> ring, BackendChoice backend, UniqueFd wake_fd,
             LoopOptions options);
    ~LoopCore();
    /// Does the work of a destructor. The most derived one calls it, since tasks may still run.
    void shut_down();
    void run_root(TaskRecord& root);
    /// Whether the last run ended because nothing could wake any task.
    [[nodiscard]] bool take_stuck() noexcept { return std::exchange(stuck_, false); }

private:
    void turn() noexcept;
    void keep_age(Operation& operation) noexcept {
        if (operation.opcode == Opcode::recv_buffer && parks_) {
            unparked_.push_back(operation);
        } else if (operation.idle_limited) {
            idle_limited_.push_back(operation);
        }
    }
    template <class Visit>
    void for_each_idle(Clock::duration least, Visit visit);
    std::optional<Clock::time_point> next_moment();
    void park_long_waits();
    void take_answers();
    void end_measured_turn() noexcept;
    std::span<const Completion> wait(std::optional<Clock::time_point> deadline);
    void give_answer(const Completion& completion);
    void resume_ready();
    void reap();
    void leave();
    void turn_until_nothing_moves();
    void bury_abandoned() noexcept;
    void abandon() noexcept;
    Admission count_refusal(CancelScope& scope);
    bool refuse(Operation& operation, CancelScope& scope, std::coroutine_handle<> waiter);
    [[nodiscard]] bool would_block_forever() const;
    void report_stuck_tasks() noexcept;
    void watch_for_wake();
    void wake() noexcept;
    void assert_thread() const;

    std::unique_ptr<Ring> ring_;
    BackendChoice backend_;
    ReadyQueue ready_;
    Timers timers_;
    // Operations in flight, in the order of their last progress.
    IntrusiveList<Operation> unparked_;        // receives that can be parked
    IntrusiveList<Operation> parked_;          // those that have been, if they are idle-limited
    IntrusiveList<Operation> idle_limited_;    // idle-limited operations of other kinds
    std::optional<Clock::time_point> park_at_; // when to check them next
    bool parks_ = false;
    IntrusiveList<DescriptorUse> used_;
    CancelScope scope_;
    ReadyQueue finished_;           // in order of their end, so that the first failure comes first
    TaskRecord* root_ = nullptr;    // the one that run waits for
    TaskRecord* current_ = nullptr; // the one whose coroutine runs
    Clock::time_point now_;
    std::uint32_t immediate_answers_ = 0;
    bool unsubmitted_ = false;
    bool leaving_ = false;
    bool stuck_ = false;
    bool has_abandoned_ = false; // during shutdown: a task ignored its cancellation to the end
    bool mail_waiting_ = false;
    int other_thread_waits_ = 0;
    int own_threads_ = 0;
    std::size_t live_tasks_ = 0;
    std::size_t in_flight_count_ = 0;
    // By opcode. A ring may turn a zero-copy send into a plain one: only the sum of both is right.
    std::array<std::size_t, opcode_count> in_flight_of_{};
    std::array<std::uint64_t, opcode_count> moved_bytes_{};
    std::uint64_t turns_ = 0;
    std::uint64_t resumptions_ = 0;
    std::uint64_t resumptions_at_answers_ = 0;
    std::uint64_t busy_polls_ = 0;
    int short_waits_ = 0; // in a row, capped where more makes no difference

    Mailbox mailbox_;
    std::atomic<bool> stop_requested_{false};
    UniqueFd wake_fd_;
    Operation wake_;
    std::uint64_t wake_count_ = 0; // where the kernel writes when wake_fd_ is read
    std::thread::id thread_;
    LoopOptions options_;
    Clock::duration park_after_; // from the options, in the clock's units; 0: never
    Clock::duration busy_poll_;
    std::unique_ptr<Watchdog> watchdog_;
    std::unique_ptr<ThreadPool> pool_;

    struct TurnTimes {
        DurationHistogram turns;
        DurationHistogram ready_waits;
        bool has_begun = false; // at `now_`
    };
    std::unique_ptr<TurnTimes> turn_times_; // null: not measured
    std::uint64_t idle_timeouts_ = 0;
    std::uint64_t expired_deadlines_ = 0;
};

/// Calls a function, such as a system call, with a process descriptor that stands for another one.
///
/// Errors    `bad_file_descriptor` if its loop is gone; those of `Ring::install`;
///           those of the call.
template <class Call>
auto with_fd(Descriptor descriptor, LoopCore* loop, Call call) -> decltype(call(0)) {
    if (!descriptor.is_direct()) return call(descriptor.fd());
    if (loop == nullptr) return std::errc::bad_file_descriptor;
    auto installed = loop->install(descriptor);
    if (!installed) return installed.error();
    return call(installed->get());
}

} // namespace ringlet
