#pragma once

// Tells what every task of a loop is doing, for operators and for the report of a deadlock.

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/task_record.hpp>

#include <cstddef>
#include <string>

namespace ringlet {

/// Calls `visit(task, depth)` for every task inside of `root`, parents before children. The depth
/// counts tasks.
template <class Visit>
void for_each_task(const CancelScope& root, Visit visit) {
    const auto is_task = [](const CancelScope& scope) {
        return scope.task != nullptr && &scope == &scope.task->scope;
    };
    std::size_t depth = 0;
    const CancelScope* scope = &root;
    for (;;) {
        if (scope->first_child() != nullptr) {
            scope = scope->first_child();
        } else {
            while (scope != &root && scope->next_sibling() == nullptr) {
                if (is_task(*scope)) --depth;
                scope = scope->parent();
            }
            if (scope == &root) return;
            if (is_task(*scope)) --depth;
            scope = scope->next_sibling();
        }
        if (is_task(*scope)) visit(*scope->task, depth++);
    }
}

/// One line for each task inside of `root`, indented below the task in whose scope it was spawned.
[[nodiscard]] std::string describe_tasks(const CancelScope& root, Clock::time_point now);

} // namespace ringlet
