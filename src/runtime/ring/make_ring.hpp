#pragma once

// Chooses and creates the ring of a loop.

#include <ringlet/backend.hpp>
#include <ringlet/detail/ring.hpp>
#include <ringlet/result.hpp>

#include <memory>

namespace ringlet {

/// Makes the requested ring, and stores in `choice` which one it is. For `Backend::automatic` the environment
/// variable RINGLET_BACKEND decides, if it is set and not empty; otherwise io_uring is tried first, and epoll
/// is used if that is refused for any reason. The environment variables RINGLET_WITHOUT and RINGLET_WITH
/// switch features off and on; off wins.
///
/// Errors    As `EventLoop::create`.
Result<std::unique_ptr<Ring>> make_ring(Backend wanted, const RingOptions& options,
                                        BackendChoice& choice);

} // namespace ringlet
