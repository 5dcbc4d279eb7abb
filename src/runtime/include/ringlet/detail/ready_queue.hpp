#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/wait.hpp>

#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The coroutines to resume, first come first served. Taken out all at once: whoever comes meanwhile
/// is the next time's.
///
/// Lifetime  Owns nothing. Does not move.
class ReadyQueue {
public:
    ReadyQueue() = default;
    ReadyQueue(const ReadyQueue&) = delete;
    ReadyQueue& operator=(const ReadyQueue&) = delete;

    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

    void push(Wait& wait) noexcept {
        wait.next_ready = nullptr;
        *end_ = &wait;
        end_ = &wait.next_ready;
    }

    /// Takes all out. Returns the oldest, which leads to the others by `next_ready`; null if there is
    /// none.
    [[nodiscard]] Wait* take_all() noexcept {
        end_ = &first_;
        return std::exchange(first_, nullptr);
    }

private:
    Wait* first_ = nullptr;
    Wait** end_ = &first_; // where the next one is written
};

} // namespace ringlet
