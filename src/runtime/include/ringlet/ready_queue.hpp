#pragma once

#include <coroutine>
#include <cstddef>

namespace ringlet {

/// Something that the loop will resume: a coroutine with a link. It lives in whatever waits
/// (an operation, a timer, a task's record), so that becoming ready never allocates.
struct Resumable {
    Resumable* next_ready = nullptr;
    std::coroutine_handle<> waiter;
};

/// The coroutines to resume, first come first served.
class ReadyQueue {
public:
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    void push(Resumable& resumable) noexcept {
        resumable.next_ready = nullptr;
        if (first_ == nullptr) {
            first_ = &resumable;
        } else {
            last_->next_ready = &resumable;
        }
        last_ = &resumable;
        ++size_;
    }

    /// Takes out the oldest. The queue must not be empty.
    [[nodiscard]] Resumable& pop() noexcept {
        Resumable& oldest = *first_;
        first_ = oldest.next_ready;
        --size_;
        return oldest;
    }

private:
    Resumable* first_ = nullptr;
    Resumable* last_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace ringlet
