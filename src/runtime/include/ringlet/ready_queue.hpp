#pragma once

#include <ringlet/wait.hpp>

#include <cstddef>

namespace ringlet {

/// The coroutines to resume, first come first served.
class ReadyQueue {
public:
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    void push(Wait& wait) noexcept {
        wait.next_ready = nullptr;
        if (first_ == nullptr) {
            first_ = &wait;
        } else {
            last_->next_ready = &wait;
        }
        last_ = &wait;
        ++size_;
    }

    /// Takes out the oldest. The queue must not be empty.
    [[nodiscard]] Wait& pop() noexcept {
        Wait& oldest = *first_;
        first_ = oldest.next_ready;
        --size_;
        return oldest;
    }

private:
    Wait* first_ = nullptr;
    Wait* last_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace ringlet
