#pragma once

// The threads that run blocking functions. They are started when needed and stay until the loop is
// destroyed.

#include <ringlet/detail/blocking_job.hpp>
#include <ringlet/detail/loop_core.hpp>

#include <condition_variable>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace ringlet {

class ThreadPool {
public:
    /// At most `limit` threads; at least one.
    ThreadPool(LoopCore& loop, std::size_t limit) : loop_(&loop), limit_(limit) {}
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;
    /// Waits for functions that run; queued ones are dropped.
    ~ThreadPool();

    /// Thread    The loop's own, as `forget`.
    ///
    /// Errors    `resource_unavailable_try_again` if there is no thread and none can be created; then the job
    ///           is not kept.
    [[nodiscard]] std::error_code run(std::shared_ptr<BlockingJob> job);

    /// The loop ends without waiting for running functions: no thread touches the loop after this.
    void abandon() noexcept;

    /// The job's waiter has gone: if it has not begun, it never will.
    void forget(const BlockingJob& job) noexcept;

private:
    // A job, and the letter that reports it done: nothing is allocated on the other thread.
    struct Order {
        std::shared_ptr<BlockingJob> job;
        std::unique_ptr<Mailbox::Letter> done;
    };

    void work();
    [[nodiscard]] std::error_code add_thread();

    LoopCore* loop_;
    std::size_t limit_;
    std::mutex mutex_;
    std::condition_variable wanted_;
    std::list<Order> untold_; // that ended once `ends_` was set; destroyed with the pool
    std::list<Order> line_;   // a list: moving an order allocates nothing
    std::vector<std::thread> threads_;
    std::size_t idle_ = 0;
    bool ends_ = false;
};

} // namespace ringlet
