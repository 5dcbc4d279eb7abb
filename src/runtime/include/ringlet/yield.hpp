#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/suspension.hpp>

namespace RINGLET_EXPORT ringlet {

/// What `yield` returns; await it at once.
class [[nodiscard]] Yield final : public Suspension {
public:
    bool await_ready() const noexcept { return false; }

    template <class P>
    bool await_suspend(std::coroutine_handle<P> yielder) {
        CancelScope& in = scope_of(yielder);
        return suspend(in, yielder, [this, &in] { in.loop->make_ready(*this); });
    }
    Result<void> await_resume() const noexcept { return outcome(); }

    void cancel() noexcept override {} // its turn comes anyway
    void abandon() noexcept override {}
    [[nodiscard]] std::string describe() const override { return "its next turn"; }
};

/// Lets every other task that is ready run first.
///
/// Use it in long computations: a task that never suspends holds the whole loop.
///
/// Cancel    Ends with `operation_canceled`, at once.
/// Cost      A push and a pop; no system call.
inline Yield yield() noexcept { return {}; }

} // namespace ringlet
