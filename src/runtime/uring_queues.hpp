#pragma once

// The two queues that are shared with io_uring: what to do goes in, what has been done comes out. Keeps
// the promise that a full queue and an impatient kernel are nobody else's business.

#include <ringlet/backend.hpp>
#include <ringlet/clock.hpp>
#include <ringlet/result.hpp>
#include <ringlet/ring.hpp>

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

    /// An empty submission. A full queue is flushed first.
    [[nodiscard]] io_uring_sqe* next_entry() {
        ++stats_.submissions;
        if (io_uring_sqe* entry = io_uring_get_sqe(&ring_)) [[likely]]
            return entry;
        return next_entry_of_full_queue();
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

    /// Gives completions to `settle`, oldest first, as long as it says true. The one of which it says
    /// false stays.
    template <class Settle>
    void collect(Settle settle) {
        unsigned seen = 0;
        unsigned head = 0;
        io_uring_cqe* entry = nullptr;
        io_uring_for_each_cqe(&ring_, head, entry) {
            if (!settle(*entry)) break;
            ++seen;
        }
        io_uring_cq_advance(&ring_, seen);
    }

    /// Of what the queues know: system calls, submissions, flushes, overflows.
    [[nodiscard]] RingStats stats() const noexcept;

private:
    UringQueues(const io_uring& ring, const RingFeatures& features, unsigned enter_flags) noexcept;

    int probe();
    io_uring_sqe* next_entry_of_full_queue();
    int submit_and(unsigned min_complete, unsigned flags, void* argument, std::size_t size);

    io_uring ring_;
    RingFeatures features_;
    unsigned enter_flags_;
    __kernel_timespec timeout_{}; // read when its request is submitted, which may be a wait later
    RingStats stats_;
};

} // namespace ringlet
