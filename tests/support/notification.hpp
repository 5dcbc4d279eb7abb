#pragma once

// Resumes the one waiting coroutine of a test; the next wait then waits again.

#include <ringlet/event.hpp>
#include <ringlet/task.hpp>

namespace ringlet::testing {

class Notification {
public:
    void notify(EventLoop&) noexcept { told_.set(); }
    Task<> wait() {
        auto told = co_await told_.wait();
        if (told) told_.clear();
    }

private:
    Event told_{"a test's notification"};
};

} // namespace ringlet::testing
