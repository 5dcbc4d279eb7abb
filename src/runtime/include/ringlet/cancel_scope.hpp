#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/wait.hpp>

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <optional>

namespace RINGLET_EXPORT ringlet {

class LoopCore;
class TaskRecord;

/// Why a scope was cancelled.
enum class CancelReason : std::uint8_t {
    requested,      ///< `cancel` was called
    deadline,       ///< its time was up
    sibling_failed, ///< another task of the same group failed
    shutdown        ///< the loop or the server is shutting down
};

/// The name of a reason, for messages.
[[nodiscard]] const char* to_string(CancelReason reason) noexcept;

/// A part of a program that is cancelled as a whole: a task, a group of tasks, a block with a deadline.
///
/// Scopes form a tree. Cancelling one cancels those inside it, except shielded ones. In a cancelled
/// scope the wait in progress ends with `operation_canceled`, and every later await does so at once:
/// a cancellation can be neither missed nor swallowed.
///
/// The promise of every `Task` points to the scope that it runs in, which is how
/// `co_await sleep_for(1s)` finds its loop without an argument or a thread-local.
///
/// Lifetime  Outlives every coroutine and scope in it: it is part of a task's record, of a group,
///           or of the awaiter that opened it. Does not move.
/// Thread    The loop's own.
class CancelScope {
public:
    CancelScope() = default;
    CancelScope(const CancelScope&) = delete;
    CancelScope& operator=(const CancelScope&) = delete;
    ~CancelScope() { close(); }

    LoopCore* loop = nullptr;
    TaskRecord* task = nullptr; ///< the task that runs in it; null for the loop's own scope
    Wait* wait = nullptr;       ///< what a coroutine waits for directly in this scope

    /// Becomes a child of `parent`. If `parent` is cancelled, so is this scope, unless it is shielded.
    void open(CancelScope& parent, TaskRecord* runs_in_it, bool shielded = false) noexcept {
        loop = parent.loop;
        task = runs_in_it;
        parent_ = &parent;
        shielded_ = shielded;
        if (!shielded && parent.cancelled_) {
            cancelled_ = true;
            reason_ = parent.reason_;
        }
        if (parent.first_ == nullptr) {
            parent.first_ = previous_ = this;
        } else {
            previous_ = parent.first_->previous_;
            previous_->next_ = this;
            parent.first_->previous_ = this;
        }
    }

    /// Leaves the parent. Asserts that nothing is left inside. Closing twice does nothing.
    void close() noexcept {
        if (parent_ == nullptr) return;
        RINGLET_ASSERT(first_ == nullptr,
                       "a scope was left while something inside of it still runs");
        if (parent_->first_ == this) {
            parent_->first_ = next_;
            if (next_ != nullptr) next_->previous_ = previous_;
        } else {
            previous_->next_ = next_;
            CancelScope* after = next_ != nullptr ? next_ : parent_->first_;
            after->previous_ = previous_;
        }
        parent_ = next_ = previous_ = nullptr;
    }

    /// Cancels this scope and those inside it. The first reason is kept.
    ///
    /// Cost      One visit for each scope inside. Resumes no coroutine.
    void cancel(CancelReason reason) noexcept { cancel_inside(reason, false); }

    /// As `cancel`, but goes through shields.
    void cancel_through_shields(CancelReason reason) noexcept { cancel_inside(reason, true); }

    /// Makes the outermost scope of a loop usable again.
    void reset() noexcept { cancelled_ = answered_ = origin_ = false; }

    [[nodiscard]] bool is_cancelled() const noexcept { return cancelled_; }
    [[nodiscard]] std::optional<CancelReason> reason() const noexcept {
        if (!cancelled_) return std::nullopt;
        return reason_;
    }

    /// Notes that the cancellation ended or refused something. The note is made here and outwards, up to the
    /// scope on which `cancel` was called: an outer cancellation is not blamed for what an inner one ended.
    void note_answered() noexcept;
    /// Whether the cancellation has cut something short: see `note_answered`.
    [[nodiscard]] bool was_answered() const noexcept { return answered_; }
    /// Whether it was cancelled by a call of `cancel` on itself, not along with an enclosing scope.
    [[nodiscard]] bool is_origin() const noexcept { return origin_; }

    [[nodiscard]] CancelScope* parent() const noexcept { return parent_; }
    [[nodiscard]] CancelScope* first_child() const noexcept { return first_; }
    [[nodiscard]] CancelScope* next_sibling() const noexcept { return next_; }

private:
    void cancel_inside(CancelReason reason, bool through_shields) noexcept;

    CancelScope* parent_ = nullptr;
    CancelScope* first_ = nullptr;    // the oldest scope inside
    CancelScope* next_ = nullptr;     // the younger sibling
    CancelScope* previous_ = nullptr; // the older sibling; for the oldest, the youngest
    CancelReason reason_ = CancelReason::requested;
    bool cancelled_ = false;
    bool shielded_ = false;
    bool answered_ = false;
    bool origin_ = false; // `cancel` was called on this scope
};

/// A promise that carries a scope: that of a `Task`, or of your own coroutine type.
template <class P>
concept ScopedPromise = requires(P& promise) {
    { promise.scope() } -> std::same_as<CancelScope*>;
};

/// The scope of a coroutine that awaits something from ringlet.
template <class P>
[[nodiscard]] CancelScope& scope_of(std::coroutine_handle<P> coroutine) noexcept {
    static_assert(ScopedPromise<P>,
                  "what ringlet offers is awaited in a ringlet::Task, or in a coroutine type "
                  "of your own whose promise gives its CancelScope* by scope()");
    return *coroutine.promise().scope();
}

} // namespace ringlet
