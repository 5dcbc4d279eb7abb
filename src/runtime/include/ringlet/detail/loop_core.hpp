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

/// Ties a descriptor to the loop that it is used on, whose ring knows it and must be told of its end.
///
/// Lifetime  May outlive the loop: `loop` is null then.
struct DescriptorUse : ListHook {
    LoopCore* loop = nullptr;
};

/// What awaiters, streams and groups ask of a loop, and the loop itself. `EventLoop` is what users have of it.
///
/// Thread    The loop's own, except for `stop` and `post`.
class LoopCore : public TaskOwner {
public:
    LoopCore(const LoopCore&) = delete;
    LoopCore& operator=(const LoopCore&) = delete;

    // What users call, too: `EventLoop` describes it.
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

    /// The task whose coroutine runs now on this thread; null outside of any. For messages.
    [[nodiscard]] static TaskRecord* current_task() noexcept;

    /// The one place where a cancelled task learns of it.
    enum class Admission {
        proceed, ///< go on and suspend
        refuse,  ///< answer `operation_canceled` at once, without touching the kernel
        yield,   ///< the same after everybody else's turn: the task has ignored too many refusals
        abandon  ///< suspend for good: the loop is left, and the task still does not end
    };
    [[nodiscard]] Admission admit(CancelScope& scope) {
        if (!scope.is_cancelled()) [[likely]]
            return Admission::proceed;
        scope.note_answered();
        return count_refusal(scope);
    }
    /// As `admit` for what is done all the same: the answer cuts nothing short, but counts as one.
    [[nodiscard]] Admission admit_without_note(CancelScope& scope) {
        if (!scope.is_cancelled()) [[likely]]
            return Admission::proceed;
        return count_refusal(scope);
    }
    /// As `admit` for a shield, which a cancellation does not stop: only a task that opens one after the other
    /// without ever waiting is refused in the end.
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
    /// The coroutine goes before its turn has come.
    void forget_ready(Wait& wait) noexcept { ready_.remove(wait); }

    /// What `await_suspend` returns for an await that has its answer already. After
    /// `immediate_answers_limit` such in a row it suspends: others are waiting for their turn.
    [[nodiscard]] bool answered_at_once(CancelScope& scope,
                                        std::coroutine_handle<> waiter) noexcept {
        if (immediate_answers_++ < immediate_answers_limit) [[likely]]
            return false;
        resume_next_turn(scope, waiter);
        return true;
    }

    /// Suspends a coroutine until everybody else who is ready has had a turn.
    void resume_next_turn(CancelScope& scope, std::coroutine_handle<> waiter) noexcept;

    /// Of those who have asked `admit`: the one way to suspend.
    class Admitted {
        friend class LoopCore;
        friend class Suspension;
        Admitted() = default;
    };
    /// Notes what a coroutine waits for. It is resumed after `make_ready(wait)`.
    void note_wait(Admitted, Wait& wait, CancelScope& scope,
                   std::coroutine_handle<> waiter) noexcept {
        wait.scope = &scope;
        wait.waiter = waiter;
        wait.since = now_;
        scope.wait = &wait;
    }

    /// Starts an operation for the coroutine that waits for it. Returns false when it was refused:
    /// then the answer is there and nobody suspends.
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

    /// As `start` for an operation that has nothing to do.
    [[nodiscard]] bool finish_at_once(Operation& operation, CancelScope& scope,
                                      std::coroutine_handle<> waiter);

    /// Asks for an operation back; its waiter is resumed by its own completion.
    void cancel(Operation& operation, int as_errno);

    /// An operation that is in flight has been marked: it counts as idle from now on.
    void limit_idle_time(Operation& operation) noexcept;

    /// A descriptor is used on this loop from now on.
    void use_descriptor(DescriptorUse& use) noexcept {
        use.loop = this;
        used_.push_back(use);
    }

    /// Closes a descriptor that was used here, and on which nothing is in flight.
    void close(Descriptor descriptor, DescriptorUse& use) noexcept {
        use.unlink();
        close(descriptor);
    }
    void close(Descriptor descriptor) noexcept { ring_->close(descriptor); }

    /// As `Ring::direct_descriptor_limit`, `Ring::install` and `Ring::adopt`.
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

    /// Bytes went out, not by an operation.
    void note_sent_bytes(std::size_t count) noexcept {
        moved_bytes_[static_cast<std::size_t>(Opcode::send)] += count;
    }

    [[nodiscard]] Timers& timers() noexcept { return timers_; }
    /// A deadline has cancelled its scope.
    void note_expired_deadline() noexcept { ++expired_deadlines_; }

    /// The outermost scope: that of all tasks.
    [[nodiscard]] CancelScope& scope() noexcept { return scope_; }

    /// Gives the loop a task to start at its next turn, in `parent`. Its first reference is the
    /// loop's. Returns false when the scope is cancelled: then the task does not begin, and the
    /// reference stays with the caller.
    [[nodiscard]] bool adopt(TaskRecord& record, CancelScope& parent, TaskOwner& owner) noexcept;

    /// Notes that a task has run to its end; it is reaped at the end of the turn.
    void note_finished(TaskRecord& record) noexcept { finished_.push(record); }

    /// A wait for another thread begins, or ends: as long as there is one, the loop may sleep with
    /// nothing else to wait for.
    void expect_other_thread(bool begins) noexcept { other_thread_waits_ += begins ? 1 : -1; }
    /// Threads that serve this loop and wake it only for a wait that is counted.
    void count_own_thread(bool begins) noexcept { own_threads_ += begins ? 1 : -1; }

    /// Runs a job on a thread of the pool, and makes `waiter` ready on this one.
    ///
    /// Errors    `resource_unavailable_try_again`: there is no thread, and none can be made.
    [[nodiscard]] std::error_code run_on_other_thread(std::shared_ptr<BlockingJob> job,
                                                      Wait& waiter);
    /// It has run, and its waiter is still there.
    void blocking_job_ended(BlockingJob& job) noexcept;
    /// The job's waiter has gone.
    void forget_blocking_job(const BlockingJob& job) noexcept;

    // As owner of the tasks that were spawned on the loop itself.
    void task_ended(TaskRecord& record) noexcept override;
    [[nodiscard]] const char* name() const noexcept override { return "the loop"; }

    /// A cancelled task is answered this often in a row at once; then each answer lets others run
    /// first, and the task is reported.
    static constexpr std::uint32_t answers_after_cancel_limit = 1000;
    /// While the loop is left, a task that goes on ignoring its cancellation is answered this often
    /// more, and then destroyed where it stands.
    static constexpr std::uint32_t answers_while_leaving_limit = 1000;
    /// Awaits that did not need to suspend, in a row, before one lets others run first.
    static constexpr std::uint32_t immediate_answers_limit = 128;
    /// Resumptions between two looks at the kernel, when tasks stay ready all the time.
    static constexpr std::uint32_t resumptions_per_wait_limit = 256;
    /// Tasks that are reported when none can continue.
    static constexpr std::size_t stuck_tasks_reported_limit = 1000;
    /// Receives that are parked in one turn.
    static constexpr std::size_t parks_per_turn_limit = 256;
    /// Waits in a row that were shorter than `LoopOptions::busy_poll` before the loop polls.
    static constexpr int short_waits_before_busy_poll = 4;

protected:
    LoopCore(std::unique_ptr<Ring> ring, BackendChoice backend, UniqueFd wake_fd,
             LoopOptions options);
    ~LoopCore();
    /// What a destructor does; the most derived one, since tasks may still run.
    void shut_down();
    void run_root(TaskRecord& root);
    /// Whether the last run ended since nothing could wake anybody.
    [[nodiscard]] bool take_stuck() noexcept { return std::exchange(stuck_, false); }

private:
    void turn() noexcept;
    // Both lists are in the order of the last progress.
    void keep_age(Operation& operation) noexcept {
        if (operation.idle_limited) {
            idle_limited_.push_back(operation);
        } else if (operation.opcode == Opcode::recv_buffer && parks_) {
            waiting_.push_back(operation);
        }
    }
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
    IntrusiveList<Operation> idle_limited_;    // in flight
    IntrusiveList<Operation> waiting_;         // other receives in flight that may be parked
    std::optional<Clock::time_point> park_at_; // the next look at them
    bool parks_ = false;
    IntrusiveList<DescriptorUse> used_;
    CancelScope scope_;
    ReadyQueue finished_;        // in the order in which they ended: the first failure is the first
    TaskRecord* root_ = nullptr; // what run waits for
    TaskRecord* current_ = nullptr; // whose coroutine runs
    Clock::time_point now_;
    std::uint32_t immediate_answers_ = 0;
    bool unsubmitted_ = false;
    bool leaving_ = false;
    bool stuck_ = false;
    bool has_abandoned_ = false; // while leaving: a task ignored its cancellation to the end
    bool mail_waiting_ = false;
    int other_thread_waits_ = 0;
    int own_threads_ = 0;
    std::size_t live_tasks_ = 0;
    std::size_t in_flight_count_ = 0;
    // By opcode. A ring may make a plain send of one without a copy: only their sum is right.
    std::array<std::size_t, opcode_count> in_flight_of_{};
    std::array<std::uint64_t, opcode_count> moved_bytes_{};
    std::uint64_t turns_ = 0;
    std::uint64_t resumptions_ = 0;
    std::uint64_t resumptions_at_answers_ = 0;
    std::uint64_t busy_polls_ = 0;
    int short_waits_ = 0; // in a row, as far as it matters

    Mailbox mailbox_;
    std::atomic<bool> stop_requested_{false};
    UniqueFd wake_fd_;
    Operation wake_;
    std::uint64_t wake_count_ = 0; // what the kernel writes when wake_fd_ is read
    std::thread::id thread_;
    LoopOptions options_;
    Clock::duration park_after_; // of the options, as the clock counts; 0: never
    Clock::duration busy_poll_;
    std::unique_ptr<Watchdog> watchdog_;
    std::unique_ptr<ThreadPool> pool_;

    struct TurnTimes {
        DurationHistogram turns;
        DurationHistogram ready_waits;
        bool has_begun = false; // at `now_`
    };
    std::unique_ptr<TurnTimes> turn_times_; // null: nobody measures
    std::uint64_t idle_timeouts_ = 0;
    std::uint64_t expired_deadlines_ = 0;
};

/// Calls with a descriptor of the process that stands for another one: for a system call.
///
/// Errors    `bad_file_descriptor` if it is one of a loop that has gone, and those of `Ring::install`;
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
