#pragma once

// What the simulated stress runs and checks for each seed.

#include <ringlet/testing/simulation.hpp>

namespace stress {

/// One of: a random tree of tasks; a server with clients, stopped at some moment; a listener whose
/// accepts are cancelled; two ends of a connection that echo.
void run_scenario(ringlet::testing::Simulation& simulation);

} // namespace stress
