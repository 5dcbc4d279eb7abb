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

    void task_ended(TaskRecord& record) noexcept override;
    [[nodiscard]] const char* name() const noexcept override { return options_.name; }

    [[nodiscard]] bool has_room() const noexcept { return size_ + reserved_ < limit_; }
    /// Keeps a place for somebody who is about to spawn.
    bool reserve() noexcept {
        if (!has_room()) return false;
        ++reserved_;
        return true;
    }
    /// A reserved place is free again: for the next in line, if there is one.
    void take_back() noexcept;

    /// True when no task is left, and nobody has been promised a place for one.
    [[nodiscard]] bool has_ended() const noexcept { return size_ + reserved_ == 0; }

    /// What the body returned, if it was an error or an exception.
    void body_failed(std::error_code error, std::exception_ptr exception) noexcept;

    /// Throws or returns the first failure. `operation_canceled`, unless the body has a value to
    /// give, if something was cut short from outside.
    std::error_code finish(bool body_has_value);

    CancelScope scope;
    WaitList idle;  // until no task is left
    WaitList slots; // until there is room for one more

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
    std::optional<TaskFailure> first_failure_; // with which the group ends
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

/// The end of a group waits for its tasks, come what may: they were cancelled with it. Whoever awaits it looks
/// again afterwards: somebody who was woken along with it may have spawned one more.
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

/// Asks whether a group may begin: not in a cancelled scope.
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

    CancelScope* outer = nullptr; ///< of the coroutine that asked
};

/// Waits until a bounded group has room for one more task, and keeps it until this awaiter goes.
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
        // The place is not kept: somebody else may take it, if this one spawns nothing.
        handed_over.give_back();
        return room;
    }
};

} // namespace ringlet
