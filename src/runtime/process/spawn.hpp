#pragma once

// How a child comes to be: its three descriptors, its mask of signals, its program.

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

/// Returns when the child runs its program, or cannot.
///
/// Thread    Any. May block, as long as the program is looked up and loaded.
Result<SpawnedChild> spawn_child(const ProcessOptions& options);

} // namespace ringlet
