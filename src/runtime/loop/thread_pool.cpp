#include "loop/thread_pool.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include <pthread.h>

namespace ringlet {

ThreadPool::~ThreadPool() {
    std::deque<std::shared_ptr<BlockingJob>> dropped;
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
        dropped.swap(line_);
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(std::shared_ptr<BlockingJob> job) {
    bool one_more = false;
    {
        const std::lock_guard lock(mutex_);
        line_.push_back(std::move(job));
        one_more = idle_ < line_.size() && threads_.size() < limit_;
    }
    if (one_more) {
        // The threads must take no signal away from those that wait for it.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        threads_.emplace_back([this] { work(); });
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        loop_->count_own_thread(true);
    }
    wanted_.notify_one();
}

void ThreadPool::forget(const BlockingJob& job) {
    std::shared_ptr<BlockingJob> dropped; // its arguments go outside of the lock
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(line_.begin(), line_.end(),
                                    [&](const auto& waiting) { return waiting.get() == &job; });
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
        auto job = std::move(line_.front());
        line_.pop_front();
        lock.unlock();
        job->run();
        loop_->post([loop = loop_, done = std::move(job)] {
            if (done->waiting == nullptr) return;
            loop->expect_other_thread(false);
            loop->make_ready(*std::exchange(done->waiting, nullptr));
        });
        lock.lock();
    }
}

} // namespace ringlet
