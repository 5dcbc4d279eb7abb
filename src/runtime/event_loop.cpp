#include <ringlet/event_loop.hpp>

#include <ringlet/error.hpp>

#include "uring_ring.hpp"

#include <cerrno>
#include <cstdio>
#include <string>

#include <sys/eventfd.h>
#include <unistd.h>

namespace ringlet {

// ---- the turn: what the whole library is about -------------------------------------------------

void EventLoop::turn() {
    ++turns_;
    const bool look_at_kernel =
        ready_.empty() || unsubmitted_ || resumed_since_collect_ >= resumptions_per_wait_limit;
    if (look_at_kernel) collect();
    resume_ready();
    reap();
}

// First half: submits what was started, waits, and gives every answer to its operation. No user
// code runs here, so that a coroutine never meets an operation that is half finished.
void EventLoop::collect() {
    const auto deadline = ready_.empty() ? timers_.next() : now_;
    unsubmitted_ = false;
    resumed_since_collect_ = 0;
    const auto completions = ring_->wait(deadline);
    now_ = Clock::now();
    // Newest first: the socket that the kernel has just worked on is still in the cache. With 100
    // connections this saves 5 % of the CPU per echo (docs/benchmarks.md). A batch is bounded, so
    // that nobody waits longer than it.
    for (auto newest = completions.rbegin(); newest != completions.rend(); ++newest) {
        settle(*newest);
    }
    timers_.expire(now_, ready_);
}

void EventLoop::settle(const Completion& completion) {
    Operation& operation = *completion.operation;
    const bool finished = operation.finish(completion.result);
    if (&operation == &wake_) {
        mail_waiting_ = true;
        return;
    }
    operation.unlink();
    if (finished) {
        --in_flight_count_;
        ready_.push(operation);
    } else {
        operation.started_at = now_;
        in_flight_.push_back(operation);
        ring_->start(operation);
        unsubmitted_ = true;
    }
}

// Second half: resumes those that were ready at the start, no more. Whoever becomes ready meanwhile
// has its turn after the kernel had its own.
void EventLoop::resume_ready() {
    if (mail_waiting_) {
        mail_waiting_ = false;
        wake_.consume();
        watch_for_wake();
        mailbox_.deliver_all();
    }
    const std::size_t ready_count = ready_.size();
    for (std::size_t i = 0; i < ready_count; ++i) ready_.pop().waiter.resume();
    resumptions_ += ready_count;
    resumed_since_collect_ += static_cast<std::uint32_t>(ready_count);
}

void EventLoop::reap() {
    while (finished_ != nullptr) {
        TaskRecord* record = finished_;
        finished_ = record->next_finished;
        record->unlink();
        --live_tasks_;
        if (record == root_) {
            root_ = nullptr;
            continue;
        }
        const std::unique_ptr<TaskRecord> owner(record);
        record->finished(*this);
    }
}

// ---- the life of a task -------------------------------------------------------------------------

void EventLoop::enlist(TaskRecord& record) {
    record.loop = this;
    tasks_.push_back(record);
    ++live_tasks_;
    ready_.push(record);
}

void EventLoop::adopt(std::unique_ptr<TaskRecord> record) {
    if (leaving_) return;
    enlist(*record.release());
}

void EventLoop::note_finished(TaskRecord& record) noexcept {
    record.next_finished = finished_;
    finished_ = &record;
}

void TaskRecord::root_finished() noexcept { loop->note_finished(*this); }

void EventLoop::run_root(TaskRecord& root) {
    assert_thread();
    RINGLET_ASSERT(root_ == nullptr, "run was called inside of run on the same loop");
    root_ = &root;
    enlist(root);
    watch_for_wake();
    while (root_ != nullptr && !stop_requested_.load(std::memory_order_acquire)) turn();
    leave();
    stop_requested_.store(false, std::memory_order_relaxed);
}

// Cancels everything and waits for the kernel's answers. Only then does a frame go that has not
// finished by itself.
void EventLoop::leave() {
    leaving_ = true;
    in_flight_.for_each_while([this](Operation& operation) {
        cancel(operation, ECANCELED);
        return true;
    });
    timers_.cancel_all(ready_);
    while (in_flight_count_ > 0 || !ready_.empty()) turn();
    bury_parked();
    leaving_ = false;
}

// The kernel holds nothing any more: the frames that are left wait for something that will not
// come.
void EventLoop::bury_parked() noexcept {
    while (!tasks_.empty()) {
        TaskRecord& record = tasks_.back();
        record.unlink();
        --live_tasks_;
        record.destroy_frame();
        if (&record != root_) delete &record;
    }
    root_ = nullptr;
    ready_ = ReadyQueue();
}

EventLoop::Admission EventLoop::admit(TaskContext& context) {
    if (!leaving_) [[likely]]
        return Admission::proceed;
    if (context.answers_after_cancel < answers_after_cancel_limit) {
        ++context.answers_after_cancel;
        return Admission::refuse;
    }
    report("a task was cancelled, was told so " + std::to_string(answers_after_cancel_limit) +
           " times and went on awaiting: it ends where it stands. Leave the loop on "
           "operation_canceled");
    return Admission::park;
}

// ---- operations ---------------------------------------------------------------------------------

bool EventLoop::start(Operation& operation, TaskContext& context, std::coroutine_handle<> waiter) {
    const Admission admission = admit(context);
    if (admission == Admission::park) return true;
    if (admission == Admission::refuse) {
        operation.result = -ECANCELED;
        operation.state = Operation::State::finished;
        return false;
    }
    operation.waiter = waiter;
    operation.state = Operation::State::in_flight;
    operation.started_at = now_;
    in_flight_.push_back(operation);
    ++in_flight_count_;
    ring_->start(operation);
    unsubmitted_ = true;
    return true;
}

void EventLoop::cancel(Operation& operation, int as_errno) {
    if (operation.state != Operation::State::in_flight || operation.cancel_requested) return;
    operation.cancel_requested = true;
    operation.cancel_errno = static_cast<std::int16_t>(as_errno);
    ring_->cancel(operation);
    unsubmitted_ = true;
}

// The list is in the order of the last progress, so the walk ends at the first that is young.
void EventLoop::cancel_idle(Clock::duration limit) {
    in_flight_.for_each_while([&](Operation& operation) {
        if (now_ - operation.started_at < limit) return false;
        if (operation.idle_limited) cancel(operation, ETIMEDOUT);
        return true;
    });
}

// ---- other threads ------------------------------------------------------------------------------

void EventLoop::watch_for_wake() {
    if (wake_.state != Operation::State::idle) return;
    wake_.configure(Opcode::read, wake_fd_.get(), &wake_count_, sizeof wake_count_);
    wake_.state = Operation::State::in_flight;
    ring_->start(wake_);
    unsubmitted_ = true;
}

// Async-signal-safe. An eventfd write fails only when 2^64 - 1 wakes have not been read.
void EventLoop::wake() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_fd_.get(), &one, sizeof one);
}

void EventLoop::stop() noexcept {
    stop_requested_.store(true, std::memory_order_release);
    wake();
}

// ---- making and ending --------------------------------------------------------------------------

Result<EventLoop> EventLoop::create(LoopOptions options) {
    UniqueFd wake_fd(::eventfd(0, EFD_CLOEXEC));
    if (!wake_fd) return error_from_errno(errno);
    auto ring = make_uring_ring(options.ring_entries);
    if (!ring) return ring.error();
    return Result<EventLoop>(std::in_place, Key(), std::move(*ring), std::move(wake_fd),
                             std::move(options));
}

EventLoop::EventLoop(Key, std::unique_ptr<Ring> ring, UniqueFd wake_fd, LoopOptions options)
    : ring_(std::move(ring)), now_(Clock::now()), wake_fd_(std::move(wake_fd)),
      thread_(std::this_thread::get_id()), options_(std::move(options)) {}

EventLoop::~EventLoop() {
    assert_thread();
    RINGLET_ASSERT(root_ == nullptr, "a loop was destroyed while it runs");
    leave(); // tasks that were spawned after the last run
    if (wake_.state != Operation::State::in_flight) return;
    wake_.cancel_requested = true;
    ring_->cancel(wake_);
    while (wake_.state == Operation::State::in_flight) collect();
}

void EventLoop::assert_thread() const {
    RINGLET_ASSERT(thread_ == std::this_thread::get_id(),
                   "a loop is created, run and destroyed on one thread: only post and stop may be "
                   "called from others");
}

LoopStats EventLoop::stats() const noexcept {
    return {.turns = turns_,
            .resumptions = resumptions_,
            .live_tasks = live_tasks_,
            .operations_in_flight = in_flight_count_,
            .armed_timers = timers_.size(),
            .ring = ring_->stats()};
}

void EventLoop::report(std::string_view line) const {
    if (options_.report) {
        options_.report(line);
    } else {
        std::fprintf(stderr, "ringlet: %.*s\n", static_cast<int>(line.size()), line.data());
    }
}

void report_failure(EventLoop& loop, std::exception_ptr exception) {
    try {
        std::rethrow_exception(std::move(exception));
    } catch (const std::exception& error) {
        loop.report("a spawned task ended with an exception: " + std::string(error.what()));
    } catch (...) {
        loop.report("a spawned task ended with an exception that is not a std::exception");
    }
}

void report_failure(EventLoop& loop, std::error_code error) {
    loop.report("a spawned task ended with an error: " + error.message());
}

} // namespace ringlet
