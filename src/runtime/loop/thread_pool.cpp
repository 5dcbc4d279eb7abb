#include "loop/thread_pool.hpp"

#include "base/quiet_thread.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace ringlet {

ThreadPool::~ThreadPool() {
    std::list<Order> dropped;
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
        dropped.swap(line_);
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::abandon() noexcept {
    const std::lock_guard lock(mutex_);
    ends_ = true;
}

std::error_code ThreadPool::run(std::shared_ptr<BlockingJob> job) {
    auto done = LoopCore::letter([loop = loop_, job] {
        if (job->waiting != nullptr) loop->blocking_job_ended(*job);
    });
    bool one_more = false;
    {
        const std::lock_guard lock(mutex_);
        one_more = idle_ <= line_.size() && threads_.size() < limit_;
    }
    if (one_more) {
        const std::error_code refused = add_thread();
        if (refused && threads_.empty()) return refused; // otherwise an existing thread will run it
    }
    {
        const std::lock_guard lock(mutex_);
        line_.push_back({std::move(job), std::move(done)});
    }
    wanted_.notify_one();
    return {};
}

std::error_code ThreadPool::add_thread() {
    try {
        threads_.reserve(threads_.size() + 1); // so that a started thread always has its slot
        threads_.push_back(start_quiet_thread([this] { work(); }));
    } catch (const std::system_error& error) {
        return error.code();
    } catch (const std::bad_alloc&) {
        return std::make_error_code(std::errc::not_enough_memory);
    }
    loop_->count_own_thread(true);
    return {};
}

void ThreadPool::forget(const BlockingJob& job) noexcept {
    Order dropped; // its arguments are destroyed outside of the lock
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(line_.begin(), line_.end(), [&](const Order& waiting) {
        return waiting.job.get() == &job;
    });
    if (found == line_.end()) return;
    dropped = std::move(*found);
    line_.erase(found);
}

void ThreadPool::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        ++idle_;
        wanted_.wait(lock, [this] { return ends_ || !line_.empty(); });
        --idle_;
        if (ends_) return;
        std::list<Order> order;
        order.splice(order.end(), line_, line_.begin());
        lock.unlock();
        order.front().job->run();
        lock.lock();
        // Posted under the lock: the loop may be ending (see abandon).
        if (ends_) {
            untold_.splice(untold_.end(), order);
            return;
        }
        order.front().job.reset(); // the letter has it
        loop_->post_letter(std::move(order.front().done));
    }
}

} // namespace ringlet
