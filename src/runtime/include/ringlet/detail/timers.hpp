#pragma once

#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>

#include <cstdint>
#include <optional>

namespace RINGLET_EXPORT ringlet {

class Timers;

/// An event at a point in time. It lives in whatever waits for it.
class Timer {
public:
    Clock::time_point deadline;

    [[nodiscard]] bool is_armed() const noexcept { return armed_in_ != nullptr; }
    /// Cancels the timer. Does nothing if it is not armed.
    void disarm() noexcept;

    /// The deadline has passed. Called by the loop while no coroutine runs; it may make some ready,
    /// but runs no user code.
    virtual void expired() noexcept = 0;

protected:
    Timer() = default;
    ~Timer() { disarm(); }
    // Only for passing a timer on before it is armed.
    Timer(const Timer& other) noexcept : deadline(other.deadline) {}
    Timer& operator=(const Timer&) = delete;

public:
    // For Timers.
    std::uint64_t order_ = 0; // among equal deadlines, first come first served
    Timer* child_ = nullptr;
    Timer* sibling_ = nullptr;
    Timer* previous_ = nullptr; // the previous sibling, or the parent of the first child
    Timers* armed_in_ = nullptr;
};

/// The timers of a loop, earliest first: a pairing heap whose nodes are the timers themselves, so
/// that no wait allocates. The loop's wait passes the earliest deadline to the kernel.
///
/// Cost      `arm` and `next` are constant, `disarm` and expiry O(log n) amortised.
class Timers {
public:
    [[nodiscard]] bool empty() const noexcept { return root_ == nullptr; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// The earliest deadline, if there is one.
    [[nodiscard]] std::optional<Clock::time_point> next() const noexcept {
        if (root_ == nullptr) return std::nullopt;
        return root_->deadline;
    }

    void arm(Timer& timer) noexcept;
    void disarm(Timer& timer) noexcept;

    /// Calls every timer whose deadline is not after `now`, earliest first.
    void expire(Clock::time_point now) noexcept;

private:
    static bool before(const Timer& left, const Timer& right) noexcept;
    static Timer* meld(Timer* left, Timer* right) noexcept;
    static Timer* meld_pairs(Timer* first) noexcept;
    Timer& pop() noexcept;

    Timer* root_ = nullptr;
    std::size_t size_ = 0;
    std::uint64_t armed_count_ = 0;
};

inline void Timer::disarm() noexcept {
    if (armed_in_ != nullptr) armed_in_->disarm(*this);
}

} // namespace ringlet
