#pragma once

#include <ringlet/backend.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/ring.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <string_view>

namespace RINGLET_EXPORT ringlet {

/// How an `EventLoop` is made.
struct LoopOptions {
    /// Submissions that fit between two waits. A full queue is flushed, so this is not a limit on
    /// operations in flight. The kernel rounds it up to a power of two. Values above
    /// `ring_entries_limit` count as that limit; 0 is refused.
    unsigned ring_entries = 1024;
    static constexpr unsigned ring_entries_limit = 32'768; ///< set by the kernel

    /// The kernel interface. `automatic` takes io_uring if this process may use it, and epoll
    /// otherwise, with a line to `report`. The environment variable RINGLET_BACKEND (`io_uring`,
    /// `epoll`) decides what `automatic` takes.
    Backend backend = Backend::automatic;

    /// Which parts of io_uring are used, if the kernel has them.
    RingFeatures features = {};

    /// Buffers of `TcpStream::recv` that may be lent at once, `Buffer::capacity_bytes` each: 1 GiB.
    /// Receives beyond that wait in FIFO order until one comes back; see `RingStats::buffer_shortages`.
    /// If handlers hold one buffer while they wait for the next, allow more buffers than such handlers,
    /// or all may wait for each other. 0 is refused.
    std::size_t buffer_limit = RingOptions().buffer_limit;

    /// A `TcpStream::recv` that has waited this long is parked: it gives back its buffer and most of
    /// what the kernel keeps for it. When data arrives it starts again, at the cost of one more trip
    /// through the ring. 0: never. On epoll there is nothing to give back.
    std::chrono::milliseconds park_after{1000};

    /// Receives what no other code would see: an exception that left a spawned task, an error that
    /// it returned, a task that ignores its cancellation. One line of text, without a newline. If it
    /// is empty or throws, `ringlet: LINE` is written to stderr.
    std::function<void(std::string_view line)> report = {};

    /// A coroutine that runs for longer than this without awaiting anything keeps all others
    /// waiting. It is reported by name while it still runs; `report` is called on a separate thread
    /// for that. 0: nothing watches, at no cost.
    std::chrono::milliseconds stall_limit{0};

    /// How long the loop polls the kernel before it sleeps. An answer that arrives meanwhile costs no
    /// sleep and no wake-up, which are most of a short round trip. The loop polls only while that pays:
    /// after a poll without result it sleeps at once, until several waits in a row were that short
    /// again. So an idle loop uses no CPU. 0: it sleeps at once. More than 1 ms does not help.
    std::chrono::microseconds busy_poll{0};

    /// Measures how long turns take, for `LoopStats::turn_times` and `ready_waits`. Each wait for the
    /// kernel then costs one more clock reading. `ServeOptions::metrics` turns it on, too.
    bool measure_turns = false;

    /// The most threads that `run_blocking` uses. They are started when they are needed.
    std::size_t blocking_threads = 4;
};

} // namespace ringlet
