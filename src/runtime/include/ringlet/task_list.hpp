#pragma once

#include <ringlet/detail/config.hpp>

#include <cstddef>
#include <cstdint>

namespace RINGLET_EXPORT ringlet {

/// How `EventLoop::dump` lists tasks.
enum class TaskList : std::uint8_t {
    /// What an operator reads: if more than `alike_tasks_listed` tasks of one name and place wait for the same kind
    /// of thing, they share one line with their number, the shortest and the longest wait, and the task that has
    /// waited longest. The others follow as a tree, up to `listed_tasks_limit`.
    summary,
    /// Every task, as a tree: about 100 bytes each.
    full
};

/// A handful of connections are listed one by one.
inline constexpr std::size_t alike_tasks_listed = 4;
/// Lines of groups, and lines of other tasks: a screen or two of each.
inline constexpr std::size_t listed_tasks_limit = 100;

} // namespace ringlet
