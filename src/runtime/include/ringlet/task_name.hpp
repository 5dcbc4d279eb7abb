#pragma once

#include <ringlet/detail/config.hpp>

#include <concepts>
#include <cstddef>
#include <source_location>

namespace RINGLET_EXPORT ringlet {

/// The name of a task and the place where it was spawned. Whatever starts a task takes one before the callable, made
/// from a text: `group.spawn("reader", read, &stream)`. In `spawn({}, read, &stream)` it is the place alone.
///
/// A task that was spawned without one has the name and the place of its coroutine function: the line where that
/// begins, or with g++ the line of its closing brace.
///
/// Lifetime  The text must outlive the task, as a literal does.
class TaskName {
public:
    constexpr TaskName(const char* name = "",
                       std::source_location spawned_at = std::source_location::current()) noexcept
        : name_(name), spawned_at_(spawned_at) {}
    TaskName(std::nullptr_t) = delete;

    /// The name and the place of the coroutine function.
    static constexpr TaskName of_function() noexcept { return {"", std::source_location()}; }

    /// The text, or "" for the name of the coroutine function.
    [[nodiscard]] constexpr const char* name() const noexcept { return name_; }
    /// The place, or line 0 for that of the coroutine function.
    [[nodiscard]] constexpr const std::source_location& spawned_at() const noexcept {
        return spawned_at_;
    }

private:
    const char* name_;
    std::source_location spawned_at_;
};

/// A callable that is spawned without a `TaskName` before it.
template <class T>
concept Unnamed = !std::convertible_to<T, TaskName>;

} // namespace ringlet
