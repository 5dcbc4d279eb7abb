#pragma once

// The only door to epoll, used where io_uring is refused.

#include <ringlet/detail/ring.hpp>
#include <ringlet/result.hpp>

#include <memory>

namespace ringlet {

/// Sets up an epoll instance of this thread.
///
/// Errors    `too_many_files_open`, `not_enough_memory`, as epoll_create1(2).
Result<std::unique_ptr<Ring>> make_epoll_ring(const RingOptions& options);

} // namespace ringlet
