#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <coroutine>
#include <csignal>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>

#include <sys/signalfd.h>

namespace RINGLET_EXPORT ringlet {

/// Signals that a task can await: alone, in a group, in `when_any`.
///
///     auto signals = SignalStream::create({SIGHUP, SIGUSR1});
///     if (!signals) co_return;
///     for (;;) {
///         auto number = co_await signals->next();
///         if (!number) co_return;
///
/// Lifetime  Blocks the signals in the creating thread until it is destroyed. If `next` was ever called, signals that
///           arrived after the last answer are then discarded: what they asked for has been done. If not, they take
///           their previous effect.
/// Thread    The creating thread. Start other threads while the signals are blocked: a signal to the process goes to
///           any thread that does not block it, and takes its previous effect there.
/// Cost      A descriptor (signalfd(2)). Two streams for the same signal share it: each signal goes to one of them.
class SignalStream {
    struct State {
        UniqueFd fd;
        DescriptorUse use;
        sigset_t watched{};
        sigset_t blocked_by_us{}; // of these
        signalfd_siginfo information{};
        Operation read;
        bool was_asked = false;
    };

public:
    /// Errors    `invalid_argument` for SIGKILL, SIGSTOP or a number that is no signal; `too_many_files_open`.
    static Result<SignalStream> create(std::initializer_list<int> signals) {
        return create(std::span<const int>(signals.begin(), signals.size()));
    }
    static Result<SignalStream> create(std::span<const int> signals);

    SignalStream(SignalStream&&) noexcept = default;
    SignalStream& operator=(SignalStream&& other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~SignalStream();

    class [[nodiscard]] Awaiter {
    public:
        explicit Awaiter(State& state) noexcept : state_(&state) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiter) {
            return suspend(scope_of(waiter), waiter);
        }
        Result<int> await_resume() const;

    private:
        bool suspend(CancelScope& scope, std::coroutine_handle<> waiter);

        State* state_;
    };

    /// Waits for the next signal. If the same signal arrives again before it was read, both count as one (signal(7)).
    ///
    /// Thread    One task at a time (asserted).
    /// Suspends  At least once.
    /// Cancel    Ends with `operation_canceled`; a signal that came first is delivered.
    /// Returns   `Result<int>`: its number.
    [[nodiscard]] Awaiter next();

private:
    explicit SignalStream(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

    std::unique_ptr<State> state_;
};

} // namespace ringlet
