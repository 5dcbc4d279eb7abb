#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>

namespace RINGLET_EXPORT ringlet {

/// What `yield` returns; await it at once.
class [[nodiscard]] Yield final : public Wait {
public:
    bool await_ready() const noexcept { return false; }

    template <ScopedPromise P>
    bool await_suspend(std::coroutine_handle<P> yielder) {
        CancelScope& in = *yielder.promise().scope();
        const auto admission = in.loop->admit(in);
        refused_ = admission != LoopCore::Admission::proceed;
        if (refused_) return in.loop->suspend_refused(admission, *this, in, yielder);
        in.loop->suspend(*this, in, yielder);
        in.loop->make_ready(*this);
        return true;
    }

    Result<void> await_resume() const {
        if (refused_) return std::errc::operation_canceled;
        return {};
    }

    void cancel() noexcept override {} // its turn comes by itself
    [[nodiscard]] std::string describe() const override { return "its next turn"; }

private:
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
