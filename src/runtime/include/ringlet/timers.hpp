#pragma once

#include <ringlet/operation.hpp>
#include <ringlet/ready_queue.hpp>

#include <cstdint>
#include <optional>

namespace ringlet {

/// One wait for a moment. It lives in the awaiter.
struct Timer : Resumable {
    Clock::time_point deadline;
    bool cancelled = false;

private:
    friend class Timers;
    std::uint64_t order = 0; // among equal deadlines, first come first served
    Timer* child = nullptr;
    Timer* sibling = nullptr;
    Timer* previous = nullptr; // the sibling before, or the parent of the first child
    bool armed = false;
};

/// The timers of a loop, earliest first: a pairing heap whose nodes are the timers themselves, so
/// that no wait allocates. The earliest deadline travels to the kernel with the loop's wait.
///
/// Cost      `arm` and `next` constant, `disarm` and expiry O(log n) amortised.
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

    /// Moves every timer whose deadline is not after `now` to `ready`, earliest first.
    void expire(Clock::time_point now, ReadyQueue& ready) noexcept;

    /// Moves every timer to `ready`, marked as cancelled.
    void cancel_all(ReadyQueue& ready) noexcept;

private:
    static bool before(const Timer& left, const Timer& right) noexcept;
    static Timer* meld(Timer* left, Timer* right) noexcept;
    static Timer* meld_pairs(Timer* first) noexcept;
    Timer& pop() noexcept;

    Timer* root_ = nullptr;
    std::size_t size_ = 0;
    std::uint64_t armed_count_ = 0;
};

} // namespace ringlet
