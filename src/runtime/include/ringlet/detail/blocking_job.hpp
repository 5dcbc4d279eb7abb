#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/wait.hpp>

namespace RINGLET_EXPORT ringlet {

/// A function that runs on a thread of the loop's pool. Not for users.
class BlockingJob {
public:
    BlockingJob() = default;
    BlockingJob(const BlockingJob&) = delete;
    BlockingJob& operator=(const BlockingJob&) = delete;
    virtual ~BlockingJob() = default;

    /// Thread    A pool thread.
    virtual void run() noexcept = 0;

    Wait* waiting = nullptr; ///< used by the loop's thread only
    /// The waiter stays until the job has run, because the job may use the waiter's memory.
    bool is_waited_for = false;
};

} // namespace ringlet
