#pragma once

// Describes what every task of a loop is doing, for operators and for the report of a deadlock.

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/task_record.hpp>
#include <ringlet/task_list.hpp>

#include <cstddef>
#include <string>

namespace ringlet {

/// True for the outermost scope of a task.
[[nodiscard]] inline bool is_of_task(const CancelScope& scope) noexcept {
    return scope.task != nullptr && &scope == &scope.task->task_scope;
}

/// Calls `visit(scope)` for every scope inside of `root`, parents before children, older before younger ones;
/// `leave(scope)` when all inside of it have been visited. Neither may change the tree.
template <class Scope, class Visit, class Leave>
void for_each_scope(Scope& root, Visit visit, Leave leave) {
    Scope* scope = &root;
    for (;;) {
        if (scope->first_child() != nullptr) {
            scope = scope->first_child();
        } else {
            while (scope != &root && scope->next_sibling() == nullptr) {
                leave(*scope);
                scope = scope->parent();
            }
            if (scope == &root) return;
            leave(*scope);
            scope = scope->next_sibling();
        }
        visit(*scope);
    }
}
template <class Scope, class Visit>
void for_each_scope(Scope& root, Visit visit) {
    for_each_scope(root, visit, [](const CancelScope&) {});
}

/// Calls `visit(task, depth)` for every task inside of `root`. The depth counts tasks.
template <class Visit>
void for_each_task(const CancelScope& root, Visit visit) {
    std::size_t depth = 0;
    for_each_scope(
        root,
        [&](const CancelScope& scope) {
            if (is_of_task(scope)) visit(*scope.task, depth++);
        },
        [&](const CancelScope& scope) {
            if (is_of_task(scope)) --depth;
        });
}

/// One line for each task inside of `root`, indented below the task in whose scope it was spawned; fewer in a summary.
[[nodiscard]] std::string describe_tasks(const CancelScope& root, Clock::time_point now,
                                         TaskList form);

} // namespace ringlet
