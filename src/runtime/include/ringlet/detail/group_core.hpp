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
#include <exception>
#include <optional>
#include <string>
#include <system_error>

namespace RINGLET_EXPORT ringlet {

/// What all groups share: the scope, and the count of the tasks inside. Not for users.
class GroupCore final : public TaskOwner {
public:
    GroupCore(CancelScope& outer, const GroupOptions& options, std::size_t limit);
    GroupCore(const GroupCore&) = delete;
    GroupCore& operator=(const GroupCore&) = delete;
    ~GroupCore();

    /// Starts a task and takes over the caller's reference. Returns false if it was refused.
    bool start(TaskRecord& record);

    /// Like `start`, but the task's handle is kept: adds a reference for it.
    template <class T>
    JoinHandle<T> start_with_handle(TypedTask<T>& record) {
        record.add_reference();
        record.group = life_;
        if (!start(record)) record.release_reference();
        return JoinHandle<T>(record);
    }

    void task_ended(TaskRecord& record) noexcept override;
    [[nodiscard]] const char* name() const noexcept override { return options_.name; }

    [[nodiscard]] bool has_room() const noexcept { return size_ + reserved_ < limit_; }
    /// Reserves a slot for a coroutine that is about to spawn.
    bool reserve() noexcept {
        if (!has_room()) return false;
        ++reserved_;
        return true;
    }
    /// Frees a reserved slot, and offers it to the next in line, if any.
    void take_back() noexcept;

    /// True if no task is left and no slot is reserved.
    [[nodiscard]] bool has_ended() const noexcept { return size_ + reserved_ == 0; }

    /// Records the error or exception with which the body ended.
    void body_failed(std::error_code error, std::exception_ptr exception) noexcept;

    /// Throws or returns the first failure. Returns `operation_canceled` if something was cut short
    /// from outside, unless the body has a value to return.
    std::error_code finish(bool body_has_value);

    CancelScope scope;
    WaitList idle;  // waits until no task is left
    WaitList slots; // waits until there is room for one more

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    void fail(TaskFailure failure, bool ends_the_group) noexcept;
    void offer_room() noexcept;
    void wake_if_ended() noexcept {
        if (has_ended()) idle.wake_all();
    }

    GroupOptions options_;
    GroupLifePointer life_;
    std::size_t limit_;
    std::size_t size_ = 0;
    std::size_t reserved_ = 0;
    std::optional<TaskFailure> first_failure_; // what the group ends with
};

/// What `TaskGroup::wait_until_idle` returns; await it at once.
class [[nodiscard]] GroupIdleAwaiter final : public ListedWait {
public:
    explicit GroupIdleAwaiter(GroupCore& group) noexcept : group_(&group) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return wait_in(group_->idle, scope_of(waiting), waiting,
                       [this] { return group_->has_ended(); });
    }
    Result<void> await_resume() const noexcept { return outcome(); }

private:
    GroupCore* group_;
};

/// The end of a group always waits for its tasks: a cancellation reaches them too, and does not cut this wait short.
/// The caller checks again afterwards: another coroutine woken with it may have spawned a task.
class [[nodiscard]] GroupEndAwaiter final : public ListedWait {
public:
    explicit GroupEndAwaiter(GroupCore& group) noexcept : group_(&group) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        suspend_to_the_end(scope_of(waiting), waiting, [this] { group_->idle.push(*this); });
        return true;
    }
    void await_resume() const noexcept {}

    void cancel() noexcept override {}

private:
    GroupCore* group_;
};

/// Asks whether a group may begin; in a cancelled scope it may not.
class [[nodiscard]] GroupAdmission final : public Suspension {
public:
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        outer = &scope_of(waiting);
        return suspend(*outer, waiting, [] { return true; }, [] {});
    }
    Result<void> await_resume() const noexcept { return outcome(); }

    void cancel() noexcept override {}
    void abandon() noexcept override {}
    [[nodiscard]] std::string describe() const override { return "its next turn"; }

    CancelScope* outer = nullptr; ///< the scope of the coroutine that asked
};

/// Waits for a free slot in a bounded group and holds it for as long as this awaiter lives.
class GroupSlotAwaiter : public ListedWait {
public:
    explicit GroupSlotAwaiter(GroupCore& group) noexcept : group_(&group) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return wait_in(group_->slots, scope_of(waiting), waiting, [this] {
            if (!group_->slots.empty() || !group_->reserve()) return false;
            handed_over.give(*group_);
            return true;
        });
    }
    Result<void> await_resume() noexcept {
        if (was_cancelled) return std::errc::operation_canceled;
        if (group_->scope.is_cancelled()) {
            handed_over.give_back();
            return std::errc::operation_canceled;
        }
        return {};
    }

    Grant<GroupCore> handed_over;

protected:
    ~GroupSlotAwaiter() = default;
    GroupSlotAwaiter(const GroupSlotAwaiter& other) noexcept
        : ListedWait(other), group_(other.group_) {}
    GroupSlotAwaiter& operator=(const GroupSlotAwaiter&) = delete;

    GroupCore* group_;
};

/// What `BoundedTaskGroup::wait_for_room` returns; await it at once.
class [[nodiscard]] GroupRoomAwaiter final : public GroupSlotAwaiter {
public:
    using GroupSlotAwaiter::GroupSlotAwaiter;

    Result<void> await_resume() noexcept {
        const auto room = GroupSlotAwaiter::await_resume();
        // The slot is not held: if this coroutine spawns nothing, another may take it.
        handed_over.give_back();
        return room;
    }
};

} // namespace ringlet
