#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/detail/task_locals.hpp>
#include <ringlet/task_failure.hpp>
#include <ringlet/wait.hpp>

#include <cstdint>
#include <exception>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace RINGLET_EXPORT ringlet {

class TaskRecord;

/// A task's name as people write it: `serve` for `ringlet::Task<> serve(int)`.
[[nodiscard]] std::string short_task_name(const char* name);

/// A task in a message: `task "serve" (main.cpp:30)`.
[[nodiscard]] std::string task_and_place(std::string_view name, const std::source_location& where);

/// The owner of a task: a group, or the loop.
class TaskOwner {
public:
    /// The task has run to its end. Called outside of any coroutine, before its frame is destroyed.
    virtual void task_ended(TaskRecord& record) noexcept = 0;

    /// For messages about the task.
    [[nodiscard]] virtual const char* name() const noexcept = 0;

protected:
    ~TaskOwner() = default;
};

/// What a handle must know about its task's group, even after the group is gone.
struct GroupLife : Pooled {
    const char* name = "";
    bool ended = false;
    std::uint32_t owners = 1;
};

/// Shares ownership of a `GroupLife`, on one thread.
class GroupLifePointer {
public:
    GroupLifePointer() noexcept = default;
    explicit GroupLifePointer(GroupLife* owned) noexcept : life_(owned) {}
    GroupLifePointer(const GroupLifePointer& other) noexcept : life_(other.life_) {
        if (life_ != nullptr) ++life_->owners;
    }
    GroupLifePointer& operator=(GroupLifePointer other) noexcept {
        std::swap(life_, other.life_);
        return *this;
    }
    ~GroupLifePointer() {
        if (life_ != nullptr && --life_->owners == 0) delete life_;
    }
    [[nodiscard]] GroupLife* get() const noexcept { return life_; }

private:
    GroupLife* life_ = nullptr;
};

/// The record of one spawned task. It also serves as the wait for the task's next turn, while the task waits
/// for nothing else.
///
/// Lifetime  Owned by the running task and by its `JoinHandle`, if there is one. Destroyed with the
///           last owner.
class TaskRecord : public Wait, public Pooled {
public:
    CancelScope task_scope;     ///< the scope of the whole task
    TaskOwner* owner = nullptr; ///< null once the task has ended and its owner has been told
    const char* name = "";      ///< given to `spawn`, or the name of its coroutine function
    std::source_location spawned_at;
    TaskLocals locals;
    GroupLifePointer group;            ///< empty for a task of the loop itself
    Wait* joiner = nullptr;            ///< the wait of the coroutine that joins it
    std::uint32_t refusals = 0;        ///< awaits in a row answered at once since its cancellation
    std::uint32_t refused_in = 0;      ///< the resumption of the last one
    bool ignores_cancellation = false; ///< it has been reported
    bool joined = false;               ///< its outcome has been taken
    bool ended = false;                ///< its outcome is there, or it was refused before it began

    TaskRecord() = default;
    virtual ~TaskRecord() = default;

    /// Whether a task that has ended threw or returned an error. `operation_canceled` from a cancelled task does
    /// not count.
    [[nodiscard]] virtual bool has_failed() const noexcept = 0;
    /// The failure: one of these two.
    [[nodiscard]] virtual std::exception_ptr exception() const noexcept = 0;
    [[nodiscard]] virtual std::error_code error() const noexcept = 0;
    /// The same in words, if it has failed.
    [[nodiscard]] std::optional<TaskFailure> failure() const;

    /// Destroys the callable and its arguments: the coroutine has run to its end.
    virtual void drop_arguments() noexcept = 0;

    /// Destroys a suspended coroutine that waits for nothing.
    virtual void destroy_frame() noexcept = 0;

    /// Called by the outermost coroutine in its final suspension.
    void root_finished() noexcept;

    [[nodiscard]] std::string short_name() const { return short_task_name(name); }

    /// `task "serve" (main.cpp:30)`.
    [[nodiscard]] std::string to_string() const;

    void add_reference() noexcept { ++references_; }
    void release_reference() noexcept {
        if (--references_ == 0) delete this;
    }

    // A task that has not started yet still starts; its first await is refused.
    void cancel() noexcept override {}
    [[nodiscard]] std::string describe() const override;

private:
    std::uint32_t references_ = 1;
};

/// Shares the ownership of a record while it lives.
class TaskReference {
public:
    explicit TaskReference(TaskRecord& record) noexcept : record_(&record) {
        record.add_reference();
    }
    TaskReference(const TaskReference&) = delete;
    TaskReference& operator=(const TaskReference&) = delete;
    ~TaskReference() { record_->release_reference(); }

private:
    TaskRecord* record_;
};

} // namespace ringlet
