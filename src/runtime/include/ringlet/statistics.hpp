#pragma once

#include <ringlet/backend.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/duration_histogram.hpp>

#include <cstddef>
#include <cstdint>

namespace RINGLET_EXPORT ringlet {

/// What a ring has done since it was made.
struct RingStats {
    std::uint64_t system_calls = 0; ///< trips into the kernel to submit, to transfer and to wait
    std::uint64_t submissions = 0;
    std::uint64_t completions = 0;
    std::uint64_t full_queue_flushes = 0; ///< submissions that found the queue full, and emptied it
    std::uint64_t buffer_shortages = 0;   ///< receives that had to wait for a buffer
    std::uint64_t parked_receives = 0; ///< receives that gave their memory back after a long wait
    /// Requests of `send_all_zero_copy` that the kernel accepted as zero-copy.
    std::uint64_t zero_copy_sends = 0;
    std::uint64_t copied_zero_copy_sends = 0; ///< of these, those that it copied anyway
    std::uint64_t completion_overflows = 0; ///< completions that found no room; 0 where all is well
};

/// Adds what another ring counted.
RingStats& operator+=(RingStats& sum, const RingStats& other) noexcept;

/// Operations in flight, by what they wait for.
struct OperationsInFlight {
    std::size_t accept = 0;
    std::size_t connect = 0;
    std::size_t recv = 0; ///< of bytes, datagrams and descriptors
    std::size_t send = 0;
    std::size_t read = 0; ///< not on sockets, as the next two
    std::size_t write = 0;
    std::size_t poll = 0;
    std::size_t blocking_job = 0; ///< of `run_blocking`, on another thread
};

/// Adds what another loop has.
OperationsInFlight& operator+=(OperationsInFlight& sum, const OperationsInFlight& other) noexcept;

/// What a loop has done since it was made, and holds now.
struct LoopStats {
    std::uint64_t turns = 0;
    std::uint64_t resumptions = 0;
    std::size_t live_tasks = 0;
    std::size_t operations_in_flight = 0;
    OperationsInFlight in_flight;     ///< the same by kind
    std::uint64_t received_bytes = 0; ///< of sockets; of TLS what went over the wire
    std::uint64_t sent_bytes = 0;
    std::size_t armed_timers = 0;
    std::uint64_t busy_polls = 0;        ///< waits in which it looked before it slept
    std::uint64_t idle_timeouts = 0;     ///< operations that `cancel_idle` ended
    std::uint64_t expired_deadlines = 0; ///< of `with_deadline` and `with_timeout`
    /// With `LoopOptions::measure_turns`: how long the loop was away from the kernel, from being handed completions to
    /// asking for the next.
    DurationHistogram turn_times;
    /// The same for each resumption: how long a ready coroutine waited to run. Estimated from the turn's length as if
    /// all coroutines in it had run equally long, since only the turn is measured.
    DurationHistogram ready_waits;
    Backend backend = Backend::io_uring; ///< `EventLoop::backend` says why
    RingStats ring;
};

/// Adds what another loop counted; the backend stays that of `sum`.
LoopStats& operator+=(LoopStats& sum, const LoopStats& other) noexcept;

} // namespace ringlet
