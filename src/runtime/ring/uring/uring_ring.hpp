#pragma once

// The only door to liburing. Everything else sees the Ring interface.

#include <ringlet/detail/ring.hpp>
#include <ringlet/result.hpp>

#include <memory>

namespace ringlet {

/// Sets up an io_uring of this thread, and sends a no-op through it. Missing kernel features are
/// detected by trying.
///
/// Errors    As `EventLoop::create`.
Result<std::unique_ptr<Ring>> make_uring_ring(const RingOptions& options);

} // namespace ringlet
