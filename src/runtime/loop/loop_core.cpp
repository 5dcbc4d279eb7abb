#include <ringlet/detail/loop_core.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "loop/thread_pool.hpp"
#include "loop/watchdog.hpp"
#include "ring/make_ring.hpp"
#include "task/task_tree.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

namespace ringlet {

namespace {

// The loop that turns on this thread.
constinit thread_local LoopCore* turning_loop = nullptr;

// exit(3) was called, and static objects are being destroyed. Set by a handler that is registered when a loop
// first runs, so it is called before the destructor of that loop, if the loop is static.
constinit std::atomic<bool> process_exits{false};
// For each loop, since a static one that is made later is destroyed earlier.
void watch_for_exit(const LoopCore* loop) {
    static constinit thread_local const LoopCore* watched = nullptr;
    static constinit std::atomic<int> left{10'000}; // the C library never forgets a handler
    if (std::exchange(watched, loop) == loop || left.fetch_sub(1, std::memory_order_relaxed) <= 0)
        return;
    std::atexit([] { process_exits.store(true, std::memory_order_relaxed); });
}

} // namespace

// ---- the turn: what the whole library is about -------------------------------------------------

// Noexcept: without memory to hand over the kernel's answers, nothing can continue.
void LoopCore::turn() noexcept {
    ++turns_;
    const bool look_at_kernel =
        ready_.empty() || unsubmitted_ ||
        resumptions_ - resumptions_at_answers_ >= resumptions_per_wait_limit;
    if (look_at_kernel) take_answers();
    resume_ready();
    if (!finished_.empty()) reap();
}

// Gives one of the kernel's answers to its operation.
inline void LoopCore::give_answer(const Completion& completion) {
    Operation& operation = *completion.operation;
    const auto kind = static_cast<std::size_t>(operation.opcode);
    if (completion.result > 0) // for those that move no bytes it is not read
        moved_bytes_[kind] += static_cast<std::size_t>(completion.result);
    const bool finished = operation.finish(completion.result);
    if (&operation == &wake_) {
        mail_waiting_ = true;
        return;
    }
    if (operation.is_linked()) operation.unlink();
    if (finished) {
        --in_flight_count_;
        --in_flight_of_[kind];
        if (operation.result == -ECANCELED) [[unlikely]]
            operation.scope->note_answered();
        ready_.push(operation);
    } else {
        operation.since = now_;
        keep_age(operation);
        ring_->start(operation);
        unsubmitted_ = true;
    }
}

// First half: submits what was started, waits, and gives every answer to its operation. No user
// code runs here, so that a coroutine never meets an operation that is half finished.
void LoopCore::take_answers() {
    const auto moment = next_moment();
    const auto deadline = ready_.empty() ? moment : now_;
    if (turn_times_) end_measured_turn();
    unsubmitted_ = false;
    resumptions_at_answers_ = resumptions_;
    if (!deadline && in_flight_count_ == 0 && would_block_forever()) [[unlikely]] {
        stuck_ = true;
        return;
    }
    const auto completions = wait(deadline);
    now_ = Clock::now();
    // Newest first: the socket that the kernel has just worked on is still in the cache. With 100
    // connections this saves 5 % of the CPU per echo (docs/results/measurements.md). A batch is bounded, so
    // no coroutine waits longer than one batch.
    for (auto newest = completions.rbegin(); newest != completions.rend(); ++newest) {
        give_answer(*newest);
    }
    timers_.expire(now_);
    if (park_at_ && *park_at_ <= now_) [[unlikely]]
        park_long_waits();
}

// Second half: resumes only the coroutines that were ready at the start. Those that become ready
// meanwhile run after the next look at the kernel.
inline void LoopCore::resume_ready() {
    if (mail_waiting_) {
        mail_waiting_ = false;
        RINGLET_ASSERT(wake_.result != -EBADF, "the descriptor that wakes this loop was closed: "
                                               "closefrom(3) and the like come before the loop");
        wake_.consume();
        watch_for_wake();
        mailbox_.deliver_all();
    }
    ready_.begin_batch();
    while (Wait* next = ready_.next()) {
        Wait& wait = *next;
        wait.scope->wait = nullptr;
        current_ = wait.scope->task; // not the scope: the coroutine may leave that
        immediate_answers_ = 0;
        ++resumptions_;
        if (watchdog_) [[unlikely]]
            watchdog_->begins(current_->name, current_->spawned_at);
        std::exchange(wait.waiter, nullptr).resume();
    }
    if (watchdog_) [[unlikely]]
        watchdog_->ends();
    current_ = nullptr;
}

void LoopCore::reap() {
    for (Wait* next = finished_.take_all(); next != nullptr;) {
        TaskRecord& record = static_cast<TaskRecord&>(*next);
        next = record.next_ready;
        record.ended = true;
        record.task_scope.close();
        --live_tasks_;
        std::exchange(record.owner, nullptr)->task_ended(record);
        if (record.joiner != nullptr) make_ready(*std::exchange(record.joiner, nullptr));
        if (&record == root_) root_ = nullptr;
        record.drop_arguments();
        record.release_reference();
    }
}

// ---- the life of a task -------------------------------------------------------------------------

bool LoopCore::adopt(TaskRecord& record, CancelScope& parent, TaskOwner& owner) noexcept {
    if (parent.is_cancelled()) {
        parent.note_answered();
        record.ended = true;
        record.destroy_frame();
        record.drop_arguments();
        return false;
    }
    record.task_scope.open(parent, &record);
    record.owner = &owner;
    if (current_ != nullptr && !current_->locals.empty()) record.locals = current_->locals;
    record.scope = &record.task_scope;
    record.since = now_;
    record.task_scope.wait = &record;
    ++live_tasks_;
    ready_.push(record);
    return true;
}

void LoopCore::task_ended(TaskRecord& record) noexcept {
    if (&record == root_ || !record.has_failed()) return; // `run` returns the outcome of the root
    try {
        report(record.failure()->to_string());
    } catch (const std::bad_alloc&) {
        report("the failure of a task cannot be told: there is no memory");
    }
}

void LoopCore::run_root(TaskRecord& root) {
    watch_for_exit(this);
    assert_thread();
    RINGLET_ASSERT(root_ == nullptr, "run was called inside of run on the same loop");
    try {
        watch_for_wake();
    } catch (...) {
        root.release_reference(); // it has not begun
        throw;
    }
    LoopCore* const outer = std::exchange(turning_loop, this);
    root_ = &root;
    if (turn_times_) turn_times_->has_begun = false; // the time since the last run was no turn
    if (!adopt(root, scope_, *this)) root.release_reference();
    while (root_ != nullptr && !stuck_ && !stop_requested_.load(std::memory_order_acquire)) turn();
    if (stuck_) report_stuck_tasks();
    leave();
    turning_loop = outer;
    stop_requested_.store(false, std::memory_order_relaxed);
}

// Cancels everything and waits until every task has ended. A shield holds as long as something can
// still happen inside it. A frame that has not finished is destroyed only after the kernel has
// answered everything.
void LoopCore::leave() {
    LoopCore* const outer = std::exchange(turning_loop, this);
    leaving_ = true;
    scope_.cancel(CancelReason::shutdown);
    turn_until_nothing_moves();
    scope_.cancel_through_shields(CancelReason::shutdown);
    turn_until_nothing_moves();
    bury_abandoned();
    leaving_ = has_abandoned_ = false;
    scope_.reset();
    turning_loop = outer;
}

// Once a task is abandoned, the loop no longer waits for timers or other threads: an armed deadline
// may be that of the abandoned task itself.
void LoopCore::turn_until_nothing_moves() {
    const auto waits_for_more = [this] {
        return !has_abandoned_ && (!timers_.empty() || other_thread_waits_ > 0);
    };
    while (in_flight_count_ > 0 || !ready_.empty() || waits_for_more()) turn();
}

// The kernel no longer holds anything: the frames that are left wait for something that will not come.
// First all of them leave every queue and list, so that destroying one frame wakes none that is destroyed
// next. Then they are destroyed, children before the tasks that spawned them.
void LoopCore::bury_abandoned() noexcept {
    ready_.clear();
    TaskRecord* youngest = nullptr; // leads to older ones
    for_each_scope(scope_, [&](CancelScope& scope) {
        if (Wait* wait = std::exchange(scope.wait, nullptr)) {
            wait->abandon();
            wait->waiter = nullptr;
        }
        if (!is_of_task(scope)) return;
        scope.task->next_ready = youngest;
        youngest = scope.task;
    });
    while (youngest != nullptr) {
        TaskRecord& record = *youngest;
        youngest = static_cast<TaskRecord*>(record.next_ready);
        record.owner = nullptr;
        record.ended = true;
        --live_tasks_;
        record.destroy_frame();
        record.drop_arguments();
        record.task_scope.close();
        record.release_reference();
    }
    ready_.clear();
    root_ = nullptr;
}

// Counts refusals in a row: those in the same resumption, and one that follows a turn given away by
// the last.
LoopCore::Admission LoopCore::count_refusal(CancelScope& scope) {
    constexpr std::uint32_t gave_its_turn_away = 0xffff'ffff;
    TaskRecord& task = *scope.task;
    const auto now = static_cast<std::uint32_t>(resumptions_);
    if (task.refused_in != now && task.refused_in != gave_its_turn_away) task.refusals = 0;
    task.refused_in = now;
    if (++task.refusals <= answers_after_cancel_limit) return Admission::refuse;
    if (!std::exchange(task.ignores_cancellation, true)) {
        report(task.to_string() + " was cancelled, was told so " +
               std::to_string(answers_after_cancel_limit) +
               " times and goes on awaiting. Leave its loop on operation_canceled");
    }
    task.refused_in = gave_its_turn_away;
    const bool for_good = task.refusals > answers_after_cancel_limit + answers_while_leaving_limit;
    if (!leaving_ || !for_good) return Admission::yield;
    has_abandoned_ = true;
    return Admission::abandon;
}

// The task's record serves as its wait, since the task waits for nothing else.
void LoopCore::resume_next_turn(CancelScope& scope, std::coroutine_handle<> waiter) noexcept {
    TaskRecord& task = *scope.task;
    note_wait(Admitted(), task, scope, waiter);
    make_ready(task);
}

// ---- what it tells -----------------------------------------------------------------------------

std::string LoopCore::dump(TaskList form) const {
    return describe_tasks(scope_, Clock::now(), form);
}

TaskRecord* LoopCore::current_task() noexcept {
    return turning_loop != nullptr ? turning_loop->current_ : nullptr;
}

// ---- operations ---------------------------------------------------------------------------------

bool LoopCore::refuse(Operation& operation, CancelScope& scope, std::coroutine_handle<> waiter) {
    const auto admission = admit(scope);
    // An abandoned coroutine will never read an answer: there must be none.
    if (admission != Admission::abandon) operation.refuse();
    return suspend_refused(admission, scope, waiter);
}

bool LoopCore::finish_at_once(Operation& operation, CancelScope& scope,
                              std::coroutine_handle<> waiter) {
    if (scope.is_cancelled()) return refuse(operation, scope, waiter);
    return answered_at_once(scope, waiter);
}

void LoopCore::cancel(Operation& operation, int as_errno) {
    if (operation.state != Operation::State::in_flight || operation.cancel_requested) return;
    operation.cancel_requested = true;
    operation.cancel_errno = static_cast<std::int16_t>(as_errno);
    ring_->cancel(operation);
    unsubmitted_ = true;
}

// ---- making and ending --------------------------------------------------------------------------

LoopCore::LoopCore(std::unique_ptr<Ring> ring, BackendChoice backend, UniqueFd wake_fd,
                   LoopOptions options)
    : ring_(std::move(ring)), backend_(backend), now_(Clock::now()), wake_fd_(std::move(wake_fd)),
      thread_(std::this_thread::get_id()), options_(std::move(options)),
      park_after_(std::max(saturated(options_.park_after), Clock::duration::zero())),
      busy_poll_(std::max(saturated(options_.busy_poll), Clock::duration::zero())) {
    scope_.loop = this;
    parks_ = park_after_ > Clock::duration::zero() && backend_.backend == Backend::io_uring;
    if (backend_.refusal)
        report("io_uring is refused, epoll serves: " + backend_.refusal.message());
    if (options_.measure_turns) turn_times_ = std::make_unique<TurnTimes>();
    if (options_.stall_limit.count() > 0) {
        watchdog_ = std::make_unique<Watchdog>(saturated(options_.stall_limit),
                                               [this](std::string_view line) { report(line); });
        count_own_thread(true);
    }
}

LoopCore::~LoopCore() = default;

void LoopCore::shut_down() {
    // Code that runs on the loop called exit, so it never returns. The kernel cleans up.
    if (root_ != nullptr && process_exits.load(std::memory_order_relaxed)) return abandon();
    assert_thread();
    RINGLET_ASSERT(root_ == nullptr, "a loop was destroyed while it runs");
    // Tasks spawned after the last run never begin, and mail is not delivered. Frames being destroyed cannot spawn.
    scope_.cancel(CancelReason::shutdown);
    bury_abandoned();
    used_.for_each_while([](DescriptorUse& use) {
        use.unlink();
        use.loop = nullptr;
        return true;
    });
    pool_.reset();
    if (wake_.state != Operation::State::in_flight) return;
    wake_.cancel_requested = true;
    ring_->cancel(wake_);
    while (wake_.state == Operation::State::in_flight) take_answers();
}

// Frees nothing that may still be used on some stack, and waits for no task.
void LoopCore::abandon() noexcept {
    if (pool_) pool_->abandon();
    if (watchdog_) watchdog_->ends();             // its report would come here
    static constinit std::array<void*, 3> kept{}; // so that a leak checker finds them reachable
    kept = {ring_.release(), watchdog_.release(), pool_.release()};
    used_.for_each_while([](DescriptorUse& use) {
        use.unlink();
        use.loop = nullptr;
        return true;
    });
}

void LoopCore::assert_thread() const {
    RINGLET_ASSERT(thread_ == std::this_thread::get_id(),
                   "a loop is created, run and destroyed on one thread: only post and stop may be "
                   "called from others");
}

void LoopCore::report(std::string_view line) const noexcept { report_line(options_.report, line); }

} // namespace ringlet
