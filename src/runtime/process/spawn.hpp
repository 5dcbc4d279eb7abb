#pragma once

// How a child is started: its three descriptors, its signal mask, its program.

#include <ringlet/process.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <sys/types.h>

namespace ringlet {

struct SpawnedChild {
    pid_t pid = 0;
    UniqueFd pidfd;
    UniqueFd input; // this program's ends of the pipes
    UniqueFd output;
    UniqueFd error;
};

/// Returns when the child runs its program, or has failed to.
///
/// Thread    Any. Blocks while the program is looked up and loaded.
Result<SpawnedChild> spawn_child(const ProcessOptions& options);

} // namespace ringlet
