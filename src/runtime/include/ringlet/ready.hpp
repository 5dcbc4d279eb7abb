#pragma once

#include <ringlet/detail/aligned_optional.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/detail/group_core.hpp>
#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/detail/suspension.hpp>
#include <ringlet/error.hpp>
#include <ringlet/result.hpp>

#include <cstdint>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace RINGLET_EXPORT ringlet {

template <class V = void>
class Ready;

/// What a starter and its child share until one of them has gone.
template <class V>
struct ReadyState : Pooled {
    using Stored = std::conditional_t<std::is_void_v<V>, std::monostate, V>;
    AlignedOptional<Stored> value;
    TaskRecord* task = nullptr; // while the starter waits for it
    std::uint32_t owners = 2;

    void tell() noexcept {
        if (task == nullptr || task->joiner == nullptr) return;
        Wait& starter = *std::exchange(task->joiner, nullptr);
        starter.scope->loop->make_ready(starter);
    }
    void release() noexcept {
        if (--owners == 0) delete this;
    }
};

/// The first parameter of a child that reports when it is ready. Calling it lets the starter
/// continue. `Ready<Endpoint>` is called with a value, `Ready<>` without.
///
/// Lifetime  Move-only; may be dropped. The starter then resumes when the task has ended.
template <class V>
class Ready {
public:
    explicit Ready(ReadyState<V>* state) noexcept : state_(state) {}
    Ready(Ready&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    Ready& operator=(Ready&&) = delete;
    ~Ready() {
        if (state_ != nullptr) state_->release();
    }

    /// Reports that the task is ready, and passes the value. Call it once (asserted).
    template <class... Value>
    void operator()(Value&&... value) {
        static_assert(sizeof...(Value) == (std::is_void_v<V> ? 0 : 1),
                      "Ready<V> is called with a V, Ready<> with nothing");
        RINGLET_ASSERT(state_ != nullptr && !state_->value, "a task said twice that it is ready");
        state_->value.emplace(std::forward<Value>(value)...);
        state_->tell();
    }

    // For the starter.
    void leave() noexcept { state_ = nullptr; }

private:
    ReadyState<V>* state_;
};

/// What `TaskGroup::start` returns; await it at once.
template <class V, class T>
class [[nodiscard]] StartAwaiter final : public Suspension {
public:
    StartAwaiter(GroupCore& group, TypedTask<T>& task, ReadyState<V>* state) noexcept
        : group_(&group), task_(&task), state_(state) {
        state_->task = task_;
    }
    StartAwaiter(const StartAwaiter&) = delete;
    StartAwaiter& operator=(const StartAwaiter&) = delete;
    ~StartAwaiter() {
        abandon();
        state_->task = nullptr;
        state_->release();
        task_->release_reference();
    }

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> starter) {
        const auto try_now = [this] {
            task_->add_reference();
            if (group_->start(*task_)) return false;
            task_->release_reference();
            return true;
        };
        return suspend(scope_of(starter), starter, try_now, [this] { task_->joiner = this; });
    }
    Result<V> await_resume() {
        if (state_->value) {
            if constexpr (std::is_void_v<V>) {
                return {};
            } else {
                return Result<V>(std::in_place, std::move(*state_->value));
            }
        }
        if (const auto failure = task_->failure()) {
            return failure->error ? failure->error
                                  : std::make_error_code(std::errc::operation_canceled);
        }
        if (asked_to_end_) scope->note_answered();
        if (task_->task_scope.is_cancelled() || asked_to_end_ || !task_->has_run()) {
            return std::errc::operation_canceled;
        }
        return Errc::task_not_ready;
    }

    // The task is cancelled with its starter, which waits until it has ended: a half-started task is of no use.
    void cancel() noexcept override {
        if (task_->joiner != this) return;
        asked_to_end_ = true;
        task_->task_scope.cancel(CancelReason::requested);
    }
    void abandon() noexcept override {
        if (task_->joiner == this) task_->joiner = nullptr;
    }
    [[nodiscard]] std::string describe() const override {
        return task_->to_string() + " to be ready";
    }

private:
    GroupCore* group_;
    TypedTask<T>* task_;
    ReadyState<V>* state_;
    bool asked_to_end_ = false;
};

} // namespace ringlet
