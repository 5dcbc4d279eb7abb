#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/wait.hpp>

#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The coroutines to resume, first come first served. They are resumed in batches: those that become
/// ready meanwhile belong to the next batch.
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

    /// Removes all. Returns the oldest, which links to the others by `next_ready`; null if there is none.
    [[nodiscard]] Wait* take_all() noexcept {
        end_ = &first_;
        return std::exchange(first_, nullptr);
    }

    /// Turns the whole queue into the batch that `next` hands out. The previous batch must be used up.
    void begin_batch() noexcept { batch_ = take_all(); }
    /// Removes the oldest of the batch; null if there is none.
    [[nodiscard]] Wait* next() noexcept {
        Wait* oldest = batch_;
        if (oldest != nullptr) batch_ = oldest->next_ready;
        return oldest;
    }

    /// Drops all entries; they are not resumed.
    void clear() noexcept {
        batch_ = nullptr;
        static_cast<void>(take_all());
    }

    /// Removes one from the queue or the batch. Does nothing if it is in neither.
    ///
    /// Cost      A walk. For a coroutine that is destroyed before its turn.
    void remove(Wait& wait) noexcept {
        for (Wait** link = &batch_; *link != nullptr; link = &(*link)->next_ready) {
            if (*link != &wait) continue;
            *link = wait.next_ready;
            return;
        }
        for (Wait** link = &first_; *link != nullptr; link = &(*link)->next_ready) {
            if (*link != &wait) continue;
            *link = wait.next_ready;
            if (end_ == &wait.next_ready) end_ = link;
            return;
        }
    }

private:
    Wait* batch_ = nullptr;
    Wait* first_ = nullptr;
    Wait** end_ = &first_; // where to link the next one
};

} // namespace ringlet
