#include "task/task_tree.hpp"

#include <algorithm>
#include <cstdio>

namespace ringlet {

namespace {

// Deeper ones are told by a number, or a chain of thousands would be megabytes of spaces.
constexpr std::size_t deepest_indented = 30;

std::string age(Clock::duration time) {
    const double seconds = std::chrono::duration<double>(time).count();
    char text[32];
    if (seconds < 1) {
        std::snprintf(text, sizeof text, "%.0f ms", seconds * 1e3);
    } else if (seconds < 120) {
        std::snprintf(text, sizeof text, "%.1f s", seconds);
    } else {
        std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
    }
    return text;
}

// What the task waits for: in its innermost scope, for the outer ones wait for that.
const Wait* wait_of(const TaskRecord& task) {
    const CancelScope* scope = &task.scope;
    while (scope != nullptr) {
        if (scope->wait != nullptr) return scope->wait;
        const CancelScope* inside = scope->first_child();
        while (inside != nullptr && inside->task != &task) inside = inside->next_sibling();
        scope = inside;
    }
    return nullptr;
}

std::string line_of(const TaskRecord& task, Clock::time_point now) {
    std::string line = task.to_string();
    if (const Wait* wait = wait_of(task)) {
        line += " waits for " + wait->describe() + ", for " + age(now - wait->since);
    } else {
        line += " runs";
    }
    if (const auto reason = task.scope.reason()) {
        line += "; cancelled (" + std::string(to_string(*reason)) + ")";
    }
    return line;
}

} // namespace

std::string describe_tasks(const CancelScope& root, Clock::time_point now) {
    std::string text;
    for_each_task(root, [&](const TaskRecord& task, std::size_t depth) {
        text += std::string(2 * std::min(depth, deepest_indented), ' ');
        if (depth > deepest_indented)
            text.append("(").append(std::to_string(depth)).append(" deep) ");
        text += line_of(task, now) + "\n";
    });
    return text;
}

} // namespace ringlet
