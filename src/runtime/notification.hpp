#pragma once

// Lets one coroutine wait for another to tell it something. What waits is kept here, not in the
// waiting frame, so that a notification after that frame has gone touches no freed memory.

#include <ringlet/event_loop.hpp>

#include <utility>

namespace ringlet {

class Notification {
public:
    /// Lets the waiter go on; if nobody waits, the next wait ends at once.
    void notify(EventLoop& loop) noexcept {
        told_ = true;
        if (std::exchange(waited_for_, false)) loop.make_ready(waiter_);
    }

    class Awaiter {
    public:
        explicit Awaiter(Notification& notification) noexcept : notification_(&notification) {}
        bool await_ready() const noexcept { return notification_->told_; }
        template <ContextPromise P>
        void await_suspend(std::coroutine_handle<P> waiter) noexcept {
            notification_->waiter_.waiter = waiter;
            notification_->waited_for_ = true;
        }
        void await_resume() const noexcept { notification_->told_ = false; }

    private:
        Notification* notification_;
    };

    /// One waiter at a time. Not a cancellation point: whoever cancels must notify.
    [[nodiscard]] Awaiter wait() noexcept { return Awaiter(*this); }

private:
    Resumable waiter_;
    bool told_ = false;
    bool waited_for_ = false;
};

} // namespace ringlet
