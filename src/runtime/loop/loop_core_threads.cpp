// Where a loop and other threads meet: wake-ups, blocking jobs, and noticing that no thread could wake the loop.

#include <ringlet/detail/loop_core.hpp>

#include "base/kernel.hpp"
#include "loop/thread_pool.hpp"
#include "loop/watchdog.hpp"

#include <algorithm>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include <unistd.h>

namespace ringlet {

// ---- other threads ------------------------------------------------------------------------------

void LoopCore::watch_for_wake() {
    if (wake_.state != Operation::State::idle) return;
    wake_.configure(Opcode::read, wake_fd_.get(), &wake_count_, sizeof wake_count_);
    ring_->start(wake_);
    wake_.state = Operation::State::in_flight;
    unsubmitted_ = true;
}

// Async-signal-safe. An eventfd write fails only if 2^64 - 1 wakes are unread.
void LoopCore::wake() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_fd_.get(), &one, sizeof one);
}

void LoopCore::stop() noexcept {
    stop_requested_.store(true, std::memory_order_release);
    wake();
}

std::error_code LoopCore::run_on_other_thread(std::shared_ptr<BlockingJob> job, Wait& waiter) {
    if (backend_.backend == Backend::simulated) {
        job->run();
        make_ready(waiter);
        return {};
    }
    if (!pool_) {
        pool_ = std::make_unique<ThreadPool>(*this,
                                             std::max<std::size_t>(1, options_.blocking_threads));
    }
    const std::error_code refused = pool_->run(job);
    if (refused) return refused;
    job->waiting = &waiter; // used on this thread only
    expect_other_thread(true);
    if (job->is_waited_for) ++in_flight_count_; // as if in flight: no frame goes before
    return {};
}

void LoopCore::blocking_job_ended(BlockingJob& job) noexcept {
    expect_other_thread(false);
    if (job.is_waited_for) --in_flight_count_;
    make_ready(*std::exchange(job.waiting, nullptr));
}

void LoopCore::forget_blocking_job(const BlockingJob& job) noexcept {
    expect_other_thread(false);
    pool_->forget(job);
}

// ---- nothing can happen any more ----------------------------------------------------------------

// Nothing is in flight, no timer is armed, no coroutine is ready. What could still come is a letter
// that is already here or from another thread, or a stop from a signal handler, if there is one.
bool LoopCore::would_block_forever() const {
    if (root_ == nullptr || leaving_ || other_thread_waits_ > 0 || !mailbox_.empty() ||
        stop_requested_.load(std::memory_order_acquire)) {
        return false;
    }
    Kernel& kernel = Kernel::of_this_thread();
    if (kernel.has_signal_handlers()) return false;
    return !kernel.has_more_threads(1 + static_cast<std::size_t>(own_threads_));
}

void LoopCore::report_stuck_tasks() noexcept {
    report("no task can continue, and no other thread is there to wake one:");
    std::string tasks;
    try {
        tasks = dump();
    } catch (const std::bad_alloc&) {
        return report("there is no memory to tell which");
    }
    std::string_view rest = tasks;
    for (std::size_t lines = 0; !rest.empty(); ++lines) {
        if (lines == stuck_tasks_reported_limit) return report("and more");
        const std::size_t end = rest.find('\n');
        report(rest.substr(0, end));
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    }
}

} // namespace ringlet
