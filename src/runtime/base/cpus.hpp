#pragma once

// The CPUs that a thread may run on: how many workers make sense, and where each belongs.

#include <ringlet/result.hpp>

#include <vector>

#include <sched.h>

namespace ringlet {

class CpuSet {
public:
    /// The CPUs that the calling thread may run on, as limited by taskset(1), a container's cpuset
    /// and the like.
    ///
    /// Errors    As sched_getaffinity(2).
    static Result<CpuSet> of_this_thread();
    static CpuSet of(int cpu);

    /// Their numbers, in ascending order.
    [[nodiscard]] std::vector<int> numbers() const;

    /// Restricts the calling thread to these.
    ///
    /// Errors    As sched_setaffinity(2).
    [[nodiscard]] Result<void> apply() const;

private:
    // Several, because a kernel may have more than CPU_SETSIZE CPUs (CPU_SET(3)).
    std::vector<cpu_set_t> parts_;
};

} // namespace ringlet
