#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>

namespace ringlet {

class EventLoop;

/// What a coroutine inherits from the one that awaits it. The promise of every `Task` points to
/// one, which is how `co_await sleep_for(1s)` finds its loop without an argument or a thread-local.
///
/// Lifetime  Outlives every frame that points to it: it is part of the task's record in the loop.
class TaskContext {
public:
    EventLoop* loop = nullptr;
    /// Awaits that were answered at once because the task was cancelled (see `EventLoop::admit`).
    std::uint32_t answers_after_cancel = 0;

    /// Called by the outermost coroutine of the task, in its final suspension: notes that it has
    /// finished. The frame is destroyed later, by the loop.
    virtual void root_finished() noexcept = 0;

protected:
    TaskContext() = default;
    ~TaskContext() = default;
};

/// A promise that carries a context: that of a `Task`, or of your own coroutine type.
template <class P>
concept ContextPromise = requires(P& promise) {
    { promise.context() } -> std::same_as<TaskContext*>;
};

} // namespace ringlet
