#pragma once

#include <ringlet/event_loop.hpp>

namespace ringlet {

/// What `yield` returns; await it at once.
class [[nodiscard]] Yield {
public:
    bool await_ready() const noexcept { return false; }

    template <ContextPromise P>
    bool await_suspend(std::coroutine_handle<P> yielder) {
        TaskContext& context = *yielder.promise().context();
        const auto admission = context.loop->admit(context);
        refused_ = admission == EventLoop::Admission::refuse;
        if (admission != EventLoop::Admission::proceed) return !refused_;
        turn_.waiter = yielder;
        context.loop->make_ready(turn_);
        return true;
    }

    Result<void> await_resume() const {
        if (refused_) return std::errc::operation_canceled;
        return {};
    }

private:
    Resumable turn_;
    bool refused_ = false;
};

/// Lets every other task that is ready run first.
///
/// Use it in long computations: a task that never suspends holds the whole loop.
///
/// Cancel    Ends with `operation_canceled`, at once.
/// Cost      A push and a pop; no system call.
inline Yield yield() noexcept { return {}; }

} // namespace ringlet
