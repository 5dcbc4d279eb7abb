#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/wait.hpp>

#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The coroutines to resume, first come first served. A batch of them is resumed at a time: whoever
/// comes meanwhile is of the next one.
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

    /// Takes all out. Returns the oldest, which leads to the others by `next_ready`; null if there is none.
    [[nodiscard]] Wait* take_all() noexcept {
        end_ = &first_;
        return std::exchange(first_, nullptr);
    }

    /// All that are in it become the batch that `next` hands out. The last one must have been handed out.
    void begin_batch() noexcept { batch_ = take_all(); }
    /// Takes the oldest of the batch out; null when there is none.
    [[nodiscard]] Wait* next() noexcept {
        Wait* oldest = batch_;
        if (oldest != nullptr) batch_ = oldest->next_ready;
        return oldest;
    }

    /// Whoever is in it is not resumed.
    void clear() noexcept {
        batch_ = nullptr;
        static_cast<void>(take_all());
    }

    /// Takes one out, wherever it is. Nothing happens if it is not in it.
    ///
    /// Cost      A walk. For a coroutine that goes before its turn.
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
    Wait** end_ = &first_; // where the next one is written
};

} // namespace ringlet
