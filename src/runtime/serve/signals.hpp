#pragma once

// SIGTERM and SIGINT as something to read, through the ring like everything else.

#include <ringlet/event_loop.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <csignal>
#include <memory>

#include <sys/signalfd.h>

namespace ringlet {

class SignalWatch {
    struct State {
        UniqueFd fd;
        DescriptorUse use;
        sigset_t watched{};
        sigset_t before{};
        signalfd_siginfo information{};
        Operation read;
        bool was_read = false;
    };

public:
    /// Blocks both signals, and a third unless it is 0, in this thread until the watch goes, and
    /// makes them readable. A watch that was read drops what has come since when it goes.
    static Result<SignalWatch> create(int third = 0);

    SignalWatch(SignalWatch&&) noexcept = default;
    SignalWatch& operator=(SignalWatch&&) noexcept = default;
    ~SignalWatch();

    class Awaiter {
    public:
        explicit Awaiter(State& state) noexcept : state_(&state) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiter) {
            CancelScope& scope = scope_of(waiter);
            if (state_->use.loop == nullptr) scope.loop->use_descriptor(state_->use);
            return scope.loop->start(state_->read, scope, waiter);
        }
        Result<int> await_resume() const;

    private:
        State* state_;
    };

    /// Waits for the next signal: its number.
    [[nodiscard]] Awaiter next();

private:
    explicit SignalWatch(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

    std::unique_ptr<State> state_;
};

} // namespace ringlet
