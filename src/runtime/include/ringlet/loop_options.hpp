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
    /// operations in flight. Rounded up to a power of two by the kernel; more than `ring_entries_limit` is as
    /// much as that; 0 is refused.
    unsigned ring_entries = 1024;
    static constexpr unsigned ring_entries_limit = 32'768; ///< of the kernel

    /// The door to the kernel. `automatic` takes io_uring if this process may have one, and epoll
    /// otherwise, which `report` is told; the environment variable RINGLET_BACKEND (`io_uring`,
    /// `epoll`) decides for it.
    Backend backend = Backend::automatic;

    /// What of io_uring is used, if the kernel has it.
    RingFeatures features = {};

    /// Buffers of `TcpStream::recv` that may be lent at once, `Buffer::capacity_bytes` each: 1 GiB. A
    /// receive beyond that waits until one comes back, first come first served; see
    /// `RingStats::buffer_shortages`. Handlers that hold one buffer while they wait for the next need
    /// more than there are such handlers, or all may wait for each other. 0 is refused.
    std::size_t buffer_limit = RingOptions().buffer_limit;

    /// A `TcpStream::recv` that has waited for so long gives back its buffer, and most of what the kernel
    /// keeps for it, and is made anew when data comes, by one more trip through the ring. 0: never. On
    /// epoll there is nothing to give back; a stream with `limit_idle_time` is not parked.
    std::chrono::milliseconds park_after{1000};

    /// Is told what nobody else would see: an exception that left a spawned task, an error that it
    /// returned, a task that ignores its cancellation. One line of text, without a newline.
    /// Empty, or when it throws: writes `ringlet: LINE` to stderr.
    std::function<void(std::string_view line)> report = {};

    /// A coroutine that runs for longer than this without awaiting anything keeps all others
    /// waiting: it is reported by name, while it still runs. The line is given to `report` on a
    /// thread of its own. 0: nobody watches, and nothing is paid for it.
    std::chrono::milliseconds stall_limit{0};

    /// Before it sleeps, the loop looks at the kernel again and again for so long: an answer that
    /// comes meanwhile costs no sleep and no wake-up, which are most of a short round trip. Only as
    /// long as it pays: when nothing came the loop sleeps, until some waits in a row were that
    /// short again. So an idle loop uses no CPU. 0: it sleeps at once. More than 1 ms helps nobody.
    std::chrono::microseconds busy_poll{0};

    /// Measures how long turns take, for `LoopStats::turn_times` and `ready_waits`: one more look at the clock for
    /// each look at the kernel. `ServeOptions::metrics` does it, too.
    bool measure_turns = false;

    /// Threads for `run_blocking`, at most. They are made when they are needed.
    std::size_t blocking_threads = 4;
};

} // namespace ringlet
