#pragma once

// Which receive gets the next buffer: receives that found none wait here, in FIFO order.

#include <ringlet/clock.hpp>
#include <ringlet/detail/operation.hpp>

#include "base/buffer_pool.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <new>
#include <optional>

namespace ringlet {

/// Lends the buffers of a ring's thread, up to a limit.
class BufferQueue {
public:
    explicit BufferQueue(std::size_t limit) noexcept
        : limit_(static_cast<std::ptrdiff_t>(
              std::min<std::size_t>(limit, std::numeric_limits<std::ptrdiff_t>::max()))) {
        pool_.hold();
    }
    BufferQueue(const BufferQueue&) = delete;
    BufferQueue& operator=(const BufferQueue&) = delete;
    ~BufferQueue() { pool_.release(); }

    /// How many may still be lent.
    [[nodiscard]] std::size_t room() const noexcept {
        const std::ptrdiff_t left = limit_ - pool_.lent_count() - waiting_count_;
        return static_cast<std::size_t>(std::max<std::ptrdiff_t>(left, 0));
    }

    /// Lends an operation memory for as long as it waits, if fewer than `limit` have some. The memory
    /// then belongs to the kernel and does not count as lent.
    [[nodiscard]] bool lend_to_wait(Operation& operation, std::size_t limit) {
        if (static_cast<std::size_t>(waiting_count_) >= limit || !lend(operation)) return false;
        ++waiting_count_;
        pool_.note_provided(1);
        return true;
    }
    /// The operation waits no longer.
    void end_wait() noexcept {
        --waiting_count_;
        pool_.note_provided(-1);
    }

    /// Gives the operation memory to receive into, if it has none. Returns false at the
    /// limit, and when there is no memory.
    [[nodiscard]] bool lend(Operation& operation) {
        if (operation.data != nullptr) return true;
        if (room() == 0) return false;
        operation.data = pool_.borrow();
        return operation.data != nullptr;
    }

    /// Takes back the memory of a receive that did not use it.
    static void take_back(Operation& operation) noexcept {
        if (operation.data == nullptr) return;
        BufferPool::give_back(static_cast<std::byte*>(operation.data));
        operation.data = nullptr;
    }

    /// Queues an operation that found no buffer, once, however often it finds none. Returns false if there is
    /// no memory for the queue.
    [[nodiscard]] bool enqueue(Operation& operation) noexcept {
        if (is_queued(operation)) return true;
        try {
            queued_.push_back(&operation);
        } catch (const std::bad_alloc&) {
            return false;
        }
        operation.standby = Operation::Standby::queued;
        ++shortages_;
        return true;
    }

    /// A queued receive continues only when it is released, even if memory has become free.
    [[nodiscard]] static bool is_queued(const Operation& operation) noexcept {
        return operation.standby == Operation::Standby::queued;
    }

    /// Removes it from the queue. Returns false if it was not queued.
    bool withdraw(Operation& operation) {
        if (!is_queued(operation)) return false;
        operation.standby = Operation::Standby::no;
        std::erase(queued_, &operation);
        return true;
    }

    [[nodiscard]] bool empty() const noexcept { return queued_.empty(); }
    [[nodiscard]] const std::deque<Operation*>& queued() const noexcept { return queued_; }

    /// Passes up to `buffers` queued receives to `start`.
    template <class Start>
    void release(std::size_t buffers, Start start) {
        for (std::size_t i = std::min(buffers, queued_.size()); i > 0; --i) {
            Operation& first = *queued_.front();
            queued_.pop_front();
            first.standby = Operation::Standby::no;
            start(first);
        }
    }

    /// Passes them to `start` one by one, each at most once, while there is a buffer. A receive that finds no data
    /// returns its buffer before the next one is tried.
    template <class Start>
    void release_in_turn(Start start) {
        for (std::size_t i = queued_.size(); i > 0 && room() > 0; --i) release(1, start);
    }

    /// How often a receive found no buffer.
    [[nodiscard]] std::uint64_t shortages() const noexcept { return shortages_; }

    /// The latest time to look again: a buffer that comes back on another thread wakes no loop.
    [[nodiscard]] std::optional<Clock::time_point>
    next_look(std::optional<Clock::time_point> deadline) const {
        if (queued_.empty()) [[likely]]
            return deadline;
        const auto soon = Clock::now() + std::chrono::milliseconds(10);
        return deadline ? std::min(*deadline, soon) : soon;
    }

private:
    BufferPool& pool_ = BufferPool::of_this_thread();
    std::ptrdiff_t limit_;
    std::ptrdiff_t waiting_count_ = 0; // operations that wait with memory
    std::deque<Operation*> queued_;
    std::uint64_t shortages_ = 0;
};

} // namespace ringlet
