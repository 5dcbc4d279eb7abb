#pragma once

#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>

#include <coroutine>
#include <string>

namespace RINGLET_EXPORT ringlet {

class CancelScope;

/// One thing that a suspended coroutine waits for: the kernel's answer, a moment, a turn, another
/// task. It lives in whatever waits (a socket, an awaiter, a task's record), so that waiting and
/// becoming ready never allocate.
///
/// Lifetime  It must not move or be destroyed from `LoopCore::suspend` until the coroutine is resumed.
/// Thread    One loop's thread.
class Wait {
public:
    Wait* next_ready = nullptr;
    std::coroutine_handle<> waiter; ///< null unless it waits
    CancelScope* scope =
        nullptr;             ///< that the coroutine waits in; may have gone when it does no more
    Clock::time_point since; ///< when it began, or last made progress; the loop's coarse clock

    /// Asks for the wait to end early. The coroutine is resumed by the loop, now or when the kernel
    /// has answered; a wait that has ended already keeps its outcome. Runs no user code.
    virtual void cancel() noexcept = 0;

    /// The coroutine will not be resumed any more: leaves whatever would make it ready.
    virtual void abandon() noexcept {}

    /// What is waited for, in words for an operator: `recv on descriptor 7, peer 127.0.0.1:4711`.
    [[nodiscard]] virtual std::string describe() const = 0;

    /// The same without the details that differ between tasks: `recv`. Tasks that wait for the same kind are
    /// counted together in `TaskList::summary`.
    [[nodiscard]] virtual std::string describe_kind() const { return describe(); }

protected:
    Wait() = default;
    ~Wait() = default;
    Wait(const Wait&) = default;
    Wait& operator=(const Wait&) = default;
};

} // namespace ringlet
