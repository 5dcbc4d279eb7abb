#include "task/task_tree.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

namespace ringlet {

namespace {

// Deeper tasks show their depth as a number; otherwise a chain of thousands would take megabytes of spaces.
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

// What the task waits for, in its innermost scope: the outer ones wait for that one.
const Wait* wait_of(const TaskRecord& task) {
    const CancelScope* scope = &task.task_scope;
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
    if (const auto reason = task.task_scope.reason()) {
        line += "; cancelled (" + std::string(to_string(*reason)) + ")";
    }
    return line;
}

// What tasks of one group have in common.
using TaskKind = std::tuple<std::string_view, std::string_view, unsigned, std::string, bool>;

TaskKind kind_of(const TaskRecord& task) {
    const Wait* wait = wait_of(task);
    return {task.name, task.spawned_at.file_name(), task.spawned_at.line(),
            wait != nullptr ? wait->describe_kind() : std::string(),
            task.task_scope.reason().has_value()};
}

struct Alike {
    std::size_t count = 0;
    Clock::time_point youngest = Clock::time_point::min();
    const TaskRecord* example = nullptr; // that has waited for longest
    Clock::time_point oldest = Clock::time_point::max();

    void add(const TaskRecord& task) {
        ++count;
        const Wait* wait = wait_of(task);
        const auto since = wait != nullptr ? wait->since : Clock::time_point::max();
        youngest = std::max(youngest, since);
        if (example != nullptr && since >= oldest) return;
        oldest = since;
        example = &task;
    }
};

using Groups = std::map<TaskKind, Alike>;

std::string line_of(const TaskKind& kind, const Alike& alike, Clock::time_point now) {
    const auto& [name, file, line, waits_for, is_cancelled] = kind;
    std::string text = std::to_string(alike.count) + " times " + alike.example->to_string();
    if (const Wait* wait = wait_of(*alike.example)) {
        text += " waits for " + waits_for + ", for " + age(now - alike.youngest) + " to " +
                age(now - alike.oldest) + "; for longest " + wait->describe();
    } else {
        text += " runs";
    }
    return is_cancelled ? text + "; cancelled" : text;
}

// The largest first, ties ordered by kind. (std::stable_sort of libstdc++ 12 uses deprecated functions, and
// clang++ warns of that.)
std::string lines_of(const Groups& groups, Clock::time_point now) {
    std::vector<const Groups::value_type*> sorted;
    sorted.reserve(groups.size());
    for (const auto& group : groups) sorted.push_back(&group);
    std::ranges::sort(sorted, [](const auto* a, const auto* b) {
        if (a->second.count != b->second.count) return a->second.count > b->second.count;
        return a->first < b->first;
    });
    std::string text;
    std::size_t left_out = 0;
    for (std::size_t index = 0; index < sorted.size(); ++index) {
        const auto& [kind, alike] = *sorted[index];
        if (index < listed_tasks_limit) {
            text += line_of(kind, alike, now) + "\n";
        } else {
            left_out += alike.count;
        }
    }
    if (left_out > 0)
        text +=
            "and " + std::to_string(left_out) + " tasks of smaller groups, which are left out\n";
    return text;
}

} // namespace

std::string describe_tasks(const CancelScope& root, Clock::time_point now, TaskList form) {
    std::string text;
    Groups groups;
    if (form == TaskList::summary) {
        for_each_task(
            root, [&](const TaskRecord& task, std::size_t) { groups[kind_of(task)].add(task); });
        std::erase_if(groups,
                      [](const auto& one) { return one.second.count <= alike_tasks_listed; });
        text = lines_of(groups, now);
    }
    std::size_t listed = 0;
    std::size_t left_out = 0;
    for_each_task(root, [&](const TaskRecord& task, std::size_t depth) {
        if (!groups.empty() && groups.contains(kind_of(task))) return;
        if (form == TaskList::summary && listed == listed_tasks_limit) {
            ++left_out;
            return;
        }
        ++listed;
        text += std::string(2 * std::min(depth, deepest_indented), ' ');
        if (depth > deepest_indented)
            text.append("(").append(std::to_string(depth)).append(" deep) ");
        text += line_of(task, now) + "\n";
    });
    if (left_out > 0)
        text += "and " + std::to_string(left_out) + " other tasks, which are left out\n";
    return text;
}

} // namespace ringlet
