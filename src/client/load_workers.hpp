#pragma once

// The threads of a load: each has a loop, and a share of the coroutines.

#include "interruption.hpp"
#include "load.hpp"
#include "refusal.hpp"

#include <ringlet/ringlet.hpp>

#include <cstdint>
#include <optional>
#include <string>

/// What they have done together.
struct LoadOutcome {
    std::optional<LoadResult> result; ///< none: a signal came before anything was measured
    std::string backend;              ///< of the loops
    std::optional<Refusal> refusal;   ///< why nothing was even tried
};

/// Runs the load on so many threads. One is this thread.
LoadOutcome run_workers(const LoadOptions& options, const ringlet::LoopOptions& loop_options,
                        std::uint64_t workers, Interruption& interruption);
