#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/detail/task_record.hpp>
#include <ringlet/detail/wait_list.hpp>
#include <ringlet/group_options.hpp>
#include <ringlet/join_handle.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task_failure.hpp>

#include <cstddef>
#include <system_error>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// What is the same for all groups: the scope, and the count of the tasks inside. Not for users.
class GroupCore final : public TaskOwner {
public:
    GroupCore(CancelScope& outer, const GroupOptions& options, std::size_t limit);
    GroupCore(const GroupCore&) = delete;
    GroupCore& operator=(const GroupCore&) = delete;
    ~GroupCore();

    /// Starts a task whose one reference is the caller's until then; false when it was refused.
    bool start(TaskRecord& record);

    /// As `start`, for a task whose handle is kept: adds a reference for that.
    template <class T>
    JoinHandle<T> start_with_handle(TypedTask<T>& record) {
        record.add_reference();
        record.group = life_;
        if (!start(record)) record.release_reference();
        return JoinHandle<T>(record);
    }

    void task_ended(TaskRecord& record) override;
    [[nodiscard]] const char* name() const noexcept override { return options_.name; }

    void fail(TaskFailure failure);

    [[nodiscard]] bool has_room() const noexcept { return size_ + reserved_ < limit_; }
    /// Keeps a place for somebody who is about to spawn.
    bool reserve() noexcept {
        if (!has_room()) return false;
        ++reserved_;
        return true;
    }
    void use_reserved() noexcept { --reserved_; }
    /// A place has become free.
    void offer_room() noexcept;

    /// Throws or returns the first failure. `operation_canceled`, unless the body has a value to
    /// give, if tasks were cut short from outside.
    std::error_code finish(bool body_has_value);

    CancelScope scope;
    WaitList idle;  // until no task is left
    WaitList slots; // until there is room for one more
    std::vector<TaskFailure> failures;

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    GroupOptions options_;
    GroupLifePointer life_;
    std::size_t limit_;
    std::size_t size_ = 0;
    std::size_t reserved_ = 0;
    bool cut_short_ = false; // a task ended with operation_canceled
};

/// Waits until a group has no task left.
class [[nodiscard]] GroupIdleAwaiter final : public ListedWait {
public:
    GroupIdleAwaiter(GroupCore& group, bool cancellable) noexcept
        : group_(&group), cancellable_(cancellable) {}
    bool await_ready() const noexcept { return !cancellable_ && group_->size() == 0; }
    template <ScopedPromise P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        CancelScope& in = *waiting.promise().scope();
        if (cancellable_) {
            return group_->idle.wait_unless(*this, in, waiting,
                                            [this] { return group_->size() == 0; });
        }
        in.loop->suspend(*this, in, waiting);
        group_->idle.push(*this);
        return true;
    }
    Result<void> await_resume() const noexcept { return outcome(); }

    // The end of a group waits for its tasks, come what may: they were cancelled with it.
    void cancel() noexcept override {
        if (cancellable_) ListedWait::cancel();
    }

private:
    GroupCore* group_;
    bool cancellable_;
};

/// Waits until a bounded group has room for one more task.
class GroupSlotAwaiter : public ListedWait {
public:
    explicit GroupSlotAwaiter(GroupCore& group) noexcept : group_(&group) {}
    bool await_ready() const noexcept { return false; }
    template <ScopedPromise P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return group_->slots.wait_unless(*this, *waiting.promise().scope(), waiting, [this] {
            return group_->slots.empty() && group_->reserve();
        });
    }
    Result<void> await_resume() const noexcept {
        if (was_cancelled) return std::errc::operation_canceled;
        group_->use_reserved();
        // Somebody else may take it, if this one spawns nothing.
        if (group_->scope.is_cancelled()) return std::errc::operation_canceled;
        return {};
    }

protected:
    ~GroupSlotAwaiter() = default;
    GroupSlotAwaiter(const GroupSlotAwaiter&) = default;
    GroupSlotAwaiter& operator=(const GroupSlotAwaiter&) = delete;

    GroupCore* group_;
};

/// What `BoundedTaskGroup::wait_for_room` returns; await it at once.
class [[nodiscard]] GroupRoomAwaiter final : public GroupSlotAwaiter {
public:
    using GroupSlotAwaiter::GroupSlotAwaiter;
};

} // namespace ringlet
