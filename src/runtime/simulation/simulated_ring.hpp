#pragma once

// The door to a simulated kernel: a queue of submissions, answers that come when the seed lets them,
// and checks of the caller's promises.

#include <ringlet/detail/ring.hpp>

#include <memory>

namespace ringlet::testing {

class SimulatedKernel;

/// Lifetime  The kernel outlives it.
std::unique_ptr<Ring> make_simulated_ring(SimulatedKernel& kernel, const RingOptions& options);

} // namespace ringlet::testing
