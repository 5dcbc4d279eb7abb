#pragma once

// The two queues that are shared with io_uring: what to do goes in, what has been done comes out. Keeps
// the promise that a full queue and an impatient kernel are nobody else's business.

#include <ringlet/backend.hpp>
#include <ringlet/clock.hpp>
#include <ringlet/detail/ring.hpp>
#include <ringlet/result.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>

#include <liburing.h>

namespace ringlet {

/// Does not move once it has entries: one of them may hold the address of `timeout_`.
class UringQueues {
public:
    /// Sets up an io_uring with what the kernel has of the wanted features.
    ///
    /// Errors    As `EventLoop::create`.
    static Result<UringQueues> create(unsigned entries, const RingFeatures& wanted);

    UringQueues(UringQueues&& other) noexcept;
    UringQueues& operator=(UringQueues&&) = delete;
    ~UringQueues();

    /// What is used of what was wanted.
    [[nodiscard]] const RingFeatures& features() const noexcept { return features_; }
    [[nodiscard]] io_uring& ring() noexcept { return ring_; }

    /// An empty submission. A full queue is flushed first. As io_uring_get_sqe, which also knows a kernel
    /// thread that takes entries by itself, and larger entries: this ring has neither.
    [[nodiscard]] io_uring_sqe* next_entry() {
        ++stats_.submissions;
        if (is_full()) [[unlikely]]
            flush();
        return &ring_.sq.sqes[ring_.sq.sqe_tail++ & ring_.sq.ring_mask];
    }

    /// How long `enter` may take.
    enum class Patience {
        look, ///< what is there
        wait  ///< until a completion has come, or the deadline, if there is one
    };

    /// One system call: submits, waits, and lets the kernel work completions out. Returns early for a
    /// signal.
    void enter(Patience patience, std::optional<Clock::time_point> deadline = {});

    [[nodiscard]] bool has_completions() noexcept { return io_uring_cq_ready(&ring_) > 0; }

    /// Gives completions to `settle`, oldest first, at most `limit`.
    template <class Settle>
    void collect(std::size_t limit, Settle settle) {
        const std::size_t ready = io_uring_cq_ready(&ring_);
        const auto count = static_cast<unsigned>(std::min(ready, limit));
        const io_uring_cqe* const entries = ring_.cq.cqes;
        const unsigned mask = ring_.cq.ring_mask;
        const unsigned head = *ring_.cq.khead;
        for (unsigned i = 0; i < count; ++i) settle(entries[(head + i) & mask]);
        io_uring_cq_advance(&ring_, count);
    }

    /// Of what the queues know: system calls, submissions, flushes, overflows.
    [[nodiscard]] RingStats stats() const noexcept;

private:
    UringQueues(const io_uring& ring, const RingFeatures& features, unsigned enter_flags) noexcept;

    int probe();
    [[nodiscard]] bool is_full() const noexcept {
        return ring_.sq.sqe_tail - *ring_.sq.khead >= ring_.sq.ring_entries;
    }
    void flush();
    int submit_and(unsigned min_complete, unsigned flags, void* argument, std::size_t size);

    io_uring ring_;
    RingFeatures features_;
    unsigned enter_flags_;
    __kernel_timespec timeout_{}; // read when its request is submitted, which may be a wait later
    RingStats stats_;
};

} // namespace ringlet
