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
public:
    /// Blocks both signals in this thread until the watch goes, and makes them readable.
    static Result<SignalWatch> create();

    SignalWatch(SignalWatch&&) noexcept = default;
    SignalWatch& operator=(SignalWatch&&) noexcept = default;
    ~SignalWatch();

    class Awaiter {
    public:
        explicit Awaiter(Operation& read) noexcept : read_(&read) {}
        bool await_ready() const noexcept { return false; }
        template <ContextPromise P>
        bool await_suspend(std::coroutine_handle<P> waiter) {
            TaskContext& context = *waiter.promise().context();
            return context.loop->start(*read_, context, waiter);
        }
        Result<void> await_resume() const;

    private:
        Operation* read_;
    };

    /// Waits for the next signal.
    [[nodiscard]] Awaiter next();

private:
    struct State {
        UniqueFd fd;
        sigset_t watched{};
        sigset_t before{};
        signalfd_siginfo information{};
        Operation read;
    };
    explicit SignalWatch(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

    std::unique_ptr<State> state_;
};

} // namespace ringlet
