#pragma once

// Where the threads of a load wait for each other, and the counts that they share.

#include <ringlet/clock.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

/// What all threads have counted so far, for the progress line.
struct Progress {
    std::atomic<std::uint64_t> successes = 0;
    std::atomic<std::uint64_t> connections = 0;
    std::atomic<std::uint64_t> errors = 0;
};

class StartLine {
public:
    explicit StartLine(std::uint64_t threads) : threads_(threads) {}

    /// Waits until all threads are here. Returns the time at which all begin together; none if that was called
    /// off.
    std::optional<ringlet::Clock::time_point> wait() {
        std::unique_lock lock(mutex_);
        const std::uint64_t round = round_;
        if (++waiting_ == threads_) {
            waiting_ = 0;
            ++round_;
            begin_ = ringlet::Clock::now();
            changed_.notify_all();
        } else {
            changed_.wait(lock, [this, round] { return is_called_off_ || round_ != round; });
        }
        if (is_called_off_) return std::nullopt;
        return begin_;
    }

    /// No thread begins any more: one of them will not come.
    void call_off() {
        const std::lock_guard lock(mutex_);
        is_called_off_ = true;
        changed_.notify_all();
    }

    Progress warmup;
    Progress measurement;
    std::atomic<std::uint64_t> warmup_connections = 0; ///< of the threads that have ended it

private:
    std::uint64_t threads_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t waiting_ = 0;
    std::uint64_t round_ = 0;
    bool is_called_off_ = false;
    ringlet::Clock::time_point begin_;
};
