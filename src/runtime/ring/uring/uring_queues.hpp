#pragma once

// The two queues that are shared with io_uring: requests go in, completions come out. Keeps the promise
// that a full queue and a busy kernel are handled here and nowhere else.

#include <ringlet/backend.hpp>
#include <ringlet/clock.hpp>
#include <ringlet/detail/ring.hpp>
#include <ringlet/result.hpp>

#include "ring/uring/queue_memory.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

namespace ringlet {

/// Does not move once it has entries: one of them may hold the address of `timeout_`.
class UringQueues {
public:
    /// Sets up an io_uring with the wanted features that the kernel has.
    ///
    /// Errors    As `EventLoop::create`.
    static Result<UringQueues> create(unsigned entries, const RingFeatures& wanted);

    UringQueues(UringQueues&&) noexcept = default;
    UringQueues& operator=(UringQueues&&) = delete;
    ~UringQueues();

    /// The wanted features that are in use.
    [[nodiscard]] const RingFeatures& features() const noexcept { return features_; }

    [[nodiscard]] int fd() const noexcept { return memory_.fd(); }

    /// io_uring_register(2) of this ring: its answer, or a negative errno.
    int enroll(unsigned opcode, const void* argument, unsigned count) noexcept {
        return io_uring_register(static_cast<unsigned>(memory_.fd()), opcode, argument, count);
    }

    /// A submission whose fields are all zero. A full queue is flushed first.
    [[nodiscard]] io_uring_sqe* next_entry() {
        ++stats_.submissions;
        if (is_full()) [[unlikely]]
            flush();
        // Cleared here: what is written into it afterwards differs from request to request, and
        // io_uring_prep_* leave fields as they were since liburing 2.6.
        io_uring_sqe* entry = &memory_.submissions[tail_++ & (memory_.submission_count - 1)];
        *entry = io_uring_sqe{};
        return entry;
    }

    /// How long `enter` may take.
    enum class Patience {
        look, ///< what is there
        wait  ///< until a completion has come, or the deadline, if there is one
    };

    /// One system call: submits, waits, and lets the kernel run completion work. Returns early for a
    /// signal.
    void enter(Patience patience, std::optional<Clock::time_point> deadline = {});

    [[nodiscard]] bool has_completions() noexcept { return ready_count() > 0; }

    /// Gives completions to `each`, oldest first, at most `limit`.
    template <class Each>
    void take(std::size_t limit, Each each) {
        const auto count = static_cast<unsigned>(std::min<std::size_t>(ready_count(), limit));
        const unsigned mask = memory_.completion_count - 1;
        const unsigned head = *memory_.completion_head;
        for (unsigned i = 0; i < count; ++i) each(memory_.completions[(head + i) & mask]);
        __atomic_store_n(memory_.completion_head, head + count, __ATOMIC_RELEASE);
    }

    /// The counters of the queues: system calls, submissions, flushes, overflows.
    [[nodiscard]] RingStats stats() const noexcept;

private:
    UringQueues(QueueMemory memory, const RingFeatures& features, unsigned enter_flags) noexcept;

    int probe();
    [[nodiscard]] unsigned ready_count() const noexcept {
        return __atomic_load_n(memory_.completion_tail, __ATOMIC_ACQUIRE) -
               *memory_.completion_head;
    }
    // No kernel thread takes entries: the head moves only in our own system calls.
    [[nodiscard]] bool is_full() const noexcept {
        return tail_ - *memory_.submission_head >= memory_.submission_count;
    }
    void flush();
    int submit_and(unsigned min_complete, unsigned flags, void* argument, std::size_t size);

    QueueMemory memory_;
    unsigned tail_ = 0; // of the submissions; the kernel is told at the next system call
    RingFeatures features_;
    unsigned enter_flags_;
    unsigned enter_name_;         // the descriptor, or where it is registered
    __kernel_timespec timeout_{}; // read when its request is submitted, which may be a wait later
    RingStats stats_;
};

} // namespace ringlet
