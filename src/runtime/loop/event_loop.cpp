#include <ringlet/event_loop.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "ring/make_ring.hpp"

#include <algorithm>
#include <cerrno>

#include <sys/eventfd.h>

namespace ringlet {

Result<EventLoop> EventLoop::create(LoopOptions options) {
    if (options.buffer_limit == 0 || options.ring_entries == 0) {
        const char* line =
            options.buffer_limit == 0
                ? "LoopOptions::buffer_limit is 0: every receive would wait for ever"
                : "LoopOptions::ring_entries is 0: nothing could be asked of the kernel";
        report_line(options.report, line);
        return std::errc::invalid_argument;
    }
    UniqueFd wake_fd(::eventfd(0, EFD_CLOEXEC));
    if (!wake_fd) return error_from_errno(errno);
    BackendChoice backend;
    auto ring =
        make_ring(options.backend,
                  {.entries = std::min(options.ring_entries, LoopOptions::ring_entries_limit),
                   .features = options.features,
                   .buffer_limit = options.buffer_limit},
                  backend);
    if (!ring) return ring.error();
    return Result<EventLoop>(std::in_place, Key(), std::move(*ring), backend, std::move(wake_fd),
                             std::move(options));
}

EventLoop::EventLoop(Key, std::unique_ptr<Ring> ring, BackendChoice backend, UniqueFd wake_fd,
                     LoopOptions options)
    : LoopCore(std::move(ring), std::move(backend), std::move(wake_fd), std::move(options)) {}

EventLoop::~EventLoop() { shut_down(); }

} // namespace ringlet
