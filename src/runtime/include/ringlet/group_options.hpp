#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/task_failure.hpp>

#include <cstdint>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// What a group does when one of its tasks returns an error or throws.
enum class OnFailure : std::uint8_t {
    cancel_siblings, ///< the first failure cancels the group, and is what the group returns
    report           ///< it goes to `LoopOptions::report`; the others go on
};

/// Is told of the failures of a group's tasks.
class FailureObserver {
public:
    /// Called when the task has ended, outside of any coroutine; on the loop's thread.
    virtual void task_failed(const TaskFailure& failure) noexcept = 0;

protected:
    ~FailureObserver() = default;
};

/// How a group is made. Trivially destructible, so that it may stand in a `co_await`.
struct GroupOptions {
    /// For messages; must outlive the group's handles, as a literal does.
    const char* name = "group";
    OnFailure on_failure = OnFailure::cancel_siblings;
    /// Gets every failure, in order. Otherwise those that the group does not return go to
    /// `LoopOptions::report`.
    std::vector<TaskFailure>* failures = nullptr;
    /// Is told of every failure, in order, instead of both. Outlives the group.
    FailureObserver* observer = nullptr;
};

} // namespace ringlet
