#pragma once

#include <chrono>

namespace ringlet {

/// The clock of deadlines: CLOCK_MONOTONIC, which is also what the kernel's waits use.
using Clock = std::chrono::steady_clock;

} // namespace ringlet
