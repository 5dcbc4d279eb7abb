#pragma once

#include <ringlet/detail/config.hpp>

#include <memory>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The values of a task's `TaskLocal`s: a list that is never changed, only replaced, so that a
/// child inherits all of them by copying one pointer.
///
/// Thread    One at a time, together with all its copies.
/// Cost      One increment for a copy. `find` and `set` are linear in the number of values.
class TaskLocals {
public:
    TaskLocals() noexcept = default;
    TaskLocals(const TaskLocals& other) noexcept : first_(other.first_) {
        if (first_ != nullptr) share();
    }
    TaskLocals(TaskLocals&& other) noexcept : first_(std::exchange(other.first_, nullptr)) {}
    TaskLocals& operator=(TaskLocals other) noexcept {
        std::swap(first_, other.first_);
        return *this;
    }
    ~TaskLocals() {
        if (first_ != nullptr) release();
    }

    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

    /// The value set for `key`, or null.
    [[nodiscard]] const std::shared_ptr<void>* find(const void* key) const noexcept;

    /// Sets the value for `key` here. Copies made earlier keep theirs.
    void set(const void* key, std::shared_ptr<void> value);

private:
    struct Node;
    void share() const noexcept;
    void release() noexcept;

    Node* first_ = nullptr;
};

} // namespace ringlet
