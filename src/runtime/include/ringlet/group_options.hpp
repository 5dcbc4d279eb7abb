#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/task_failure.hpp>

#include <cstdint>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// What a group does when one of its tasks returns an error or throws.
enum class OnFailure : std::uint8_t {
    cancel_siblings, ///< the first failure cancels the group, and is what the group returns
    report           ///< the failure goes to `LoopOptions::report`; the others continue
};

/// Receives the failures of a group's tasks.
class FailureObserver {
public:
    /// Called on the loop's thread, outside any coroutine, when the task has ended.
    virtual void task_failed(const TaskFailure& failure) noexcept = 0;

protected:
    ~FailureObserver() = default;
};

/// How a group is made. Trivially destructible, so that it can be used in a `co_await`.
struct GroupOptions {
    /// For messages; must outlive the group's handles, as a literal does.
    const char* name = "group";
    OnFailure on_failure = OnFailure::cancel_siblings;
    /// Receives every failure, in order. If null, failures that the group does not return go to
    /// `LoopOptions::report`.
    std::vector<TaskFailure>* failures = nullptr;
    /// Receives every failure, in order, instead of `failures` and `LoopOptions::report`. Outlives
    /// the group.
    FailureObserver* observer = nullptr;
};

} // namespace ringlet
