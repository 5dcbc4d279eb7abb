#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/wait.hpp>

namespace RINGLET_EXPORT ringlet {

/// A function that runs on a thread of a loop's pool. Not for users.
class BlockingJob {
public:
    BlockingJob() = default;
    BlockingJob(const BlockingJob&) = delete;
    BlockingJob& operator=(const BlockingJob&) = delete;
    virtual ~BlockingJob() = default;

    /// Thread    One of the pool.
    virtual void run() noexcept = 0;

    Wait* waiting = nullptr; ///< of the loop's thread only
    /// Whoever waits does so until it has run: memory may be lent to it.
    bool is_waited_for = false;
};

} // namespace ringlet
