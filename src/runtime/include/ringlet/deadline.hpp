#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/as_task.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/task.hpp>

#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// g++ before 13 destroys the captures of a temporary lambda in a `co_await` twice
/// (docs/guides/pitfalls.md). Callables that this would break are refused there.
template <class Fn>
inline constexpr bool is_safe_in_co_await =
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
    std::is_lvalue_reference_v<Fn> || std::is_trivially_destructible_v<std::remove_cvref_t<Fn>>;
#else
    true;
#endif

#define RINGLET_ASSERT_SAFE_IN_CO_AWAIT(Fn)                                                        \
    static_assert(is_safe_in_co_await<Fn>,                                                         \
                  "g++ 12 destroys the captures of a temporary lambda twice in a co_await: give "  \
                  "the callable a name, and pass the name")

/// What `with_timeout`, `with_deadline` and `shield` return: runs a task in a scope of its own;
/// await it at once.
template <class T>
class [[nodiscard]] ScopedCall final : public Timer {
public:
    ScopedCall(Task<T> task, std::optional<Clock::time_point> moment, bool shielded) noexcept
        : shielded_(shielded), limited_(moment.has_value()), task_(std::move(task)) {
        if (moment) deadline = *moment;
    }
    /// Move it only before it is awaited.
    ScopedCall(ScopedCall&& other) noexcept
        : Timer(other), shielded_(other.shielded_), limited_(other.limited_),
          task_(std::move(other.task_)) {}
    ScopedCall(const ScopedCall&) = delete;
    ScopedCall& operator=(const ScopedCall&) = delete;
    ~ScopedCall() {
        task_ = Task<T>(); // destroyed before the scope that it runs in
        end();
    }

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> parent) {
        CancelScope& outer = scope_of(parent);
        LoopCore& loop = *outer.loop;
        const auto admission = shielded_ ? loop.admit_shielded(outer) : loop.admit(outer);
        refused_ = admission != LoopCore::Admission::proceed;
        if (refused_) return loop.suspend_refused(admission, outer, parent);
        scope_.open(outer, outer.task, shielded_);
        if (limited_) loop.timers().arm(*this);
        if (task_.in(&scope_).await_suspend(parent)) return true;
        // In a cancelled scope `admit_shielded` counts the shields opened in a row instead.
        return !outer.is_cancelled() && loop.answered_at_once(outer, parent);
    }
    Outcome<T> await_resume() {
        if (refused_) return std::errc::operation_canceled;
        end();
        auto outcome = outcome_of(task_, scope_);
        const bool ended_something = scope_.is_origin() && scope_.was_answered() && limited_ &&
                                     scope_.reason() == CancelReason::deadline;
        // Without a Result only the deadline can say that the task was cut short.
        if (ended_something &&
            (!is_result_v<T> || outcome.error() == std::errc::operation_canceled)) {
            return std::errc::timed_out;
        }
        return outcome;
    }

    void expired() noexcept override {
        scope_.loop->note_expired_deadline();
        scope_.cancel(CancelReason::deadline);
    }

private:
    void end() noexcept {
        disarm();
        scope_.close();
    }

    CancelScope scope_;
    bool shielded_;
    bool limited_;
    bool refused_ = false;
    Task<T> task_;
};

/// Runs `fn(args...)`, which returns a `Task`, with a deadline on the loop's clock. After the deadline
/// every await in the task ends with `operation_canceled` at once, until it returns.
///
///     auto answer = co_await with_timeout(5s, ask, std::ref(stream), question);
///     if (answer.error() == std::errc::timed_out) ...
///
/// Lifetime  `fn` is used in place: a lambda in the same `co_await` lives long enough.
/// Suspends  Until the task has returned; a task that shields itself may return after the deadline.
/// Cancel    Cancels what is awaited in it. In a scope that is already cancelled the task does not
///           begin, and the call ends with `operation_canceled`.
/// Returns   What the task returns, as a `Result`. A success that beats the deadline's cancellation
///           is delivered.
/// Errors    `timed_out` if this deadline, not one outside or inside it, ended something in the task
///           and the task returned `operation_canceled` (or does not return a `Result`).
///           `operation_canceled` for a `Task<>` that another cancellation cut short.
/// Cost      One frame, no system call: deadlines travel with the loop's wait.
template <class Fn, class... Args>
    requires(!Awaitable<Fn>)
auto with_deadline(Clock::time_point deadline, Fn&& fn, Args&&... args) {
    RINGLET_ASSERT_SAFE_IN_CO_AWAIT(Fn);
    using Returned = std::invoke_result_t<Fn&, Args...>;
    static_assert(is_task_v<Returned>, "the function must be a coroutine that returns a Task");
    return ScopedCall<typename Returned::value_type>(std::invoke(fn, std::forward<Args>(args)...),
                                                     deadline, false);
}

/// The same for an awaitable, without a function around it:
///
///     auto chunk = co_await with_timeout(5s, stream.recv());
///
/// Lifetime  A temporary operation and any task are moved in; a named operation outlives the await.
template <Awaitable A>
auto with_deadline(Clock::time_point deadline, A&& awaitable) {
    return ScopedCall<typename AsTask<A>::Value>(AsTask<A>::make(std::forward<A>(awaitable)),
                                                 deadline, false);
}

/// As `with_deadline`, with a duration counted from the call. A negative one has already passed.
template <class Rep, class Period, class Fn, class... Args>
    requires(!Awaitable<Fn>)
auto with_timeout(std::chrono::duration<Rep, Period> timeout, Fn&& fn, Args&&... args) {
    return with_deadline(moment_after(timeout), std::forward<Fn>(fn), std::forward<Args>(args)...);
}
template <class Rep, class Period, Awaitable A>
auto with_timeout(std::chrono::duration<Rep, Period> timeout, A&& awaitable) {
    return with_deadline(moment_after(timeout), std::forward<A>(awaitable));
}

/// Runs `fn(args...)`, which returns a `Task`, so that no cancellation from outside reaches it: for work that
/// must be done after a cancellation, such as saying goodbye. Give it a deadline of its own, inside.
///
/// Suspends  Until the task has returned. A cancellation takes effect at the next await after it.
/// Cancel    Has no effect. When the loop shuts down, a shield holds as long as something can still
///           happen inside it. A cancelled task that opens a thousand shields in a row without waiting
///           gets `operation_canceled` from then on.
template <class Fn, class... Args>
    requires(!Awaitable<Fn>)
auto shield(Fn&& fn, Args&&... args) {
    RINGLET_ASSERT_SAFE_IN_CO_AWAIT(Fn);
    using Returned = std::invoke_result_t<Fn&, Args...>;
    static_assert(is_task_v<Returned>, "the function must be a coroutine that returns a Task");
    return ScopedCall<typename Returned::value_type>(std::invoke(fn, std::forward<Args>(args)...),
                                                     std::nullopt, true);
}
/// The same for an awaitable: `co_await shield(stream.send_all("goodbye"));`
template <Awaitable A>
auto shield(A&& awaitable) {
    return ScopedCall<typename AsTask<A>::Value>(AsTask<A>::make(std::forward<A>(awaitable)),
                                                 std::nullopt, true);
}

/// What `cancelled` and `current_loop` return: looks at the scope of the awaiting coroutine.
template <class Look>
class [[nodiscard]] ScopeQuestion {
public:
    explicit ScopeQuestion(Look look) noexcept : look_(look) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> asker) noexcept {
        scope_ = &scope_of(asker);
        return false;
    }
    decltype(auto) await_resume() const noexcept { return look_(*scope_); }

private:
    Look look_;
    CancelScope* scope_ = nullptr;
};

/// Tells whether the scope of this coroutine was cancelled, and why:
/// `auto reason = co_await cancelled();`
///
/// Suspends  Never.
/// Returns   `std::optional<CancelReason>`.
inline auto cancelled() noexcept {
    return ScopeQuestion([](CancelScope& scope) noexcept { return scope.reason(); });
}

/// Gives the loop that this coroutine runs on: `EventLoop& loop = co_await current_loop();`
///
/// Suspends  Never.
inline auto current_loop() noexcept {
    return ScopeQuestion(
        [](CancelScope& scope) noexcept -> EventLoop& { return EventLoop::of(*scope.loop); });
}

} // namespace ringlet
