#include <ringlet/sleep.hpp>

namespace ringlet {

bool Sleep::arm(TaskContext& context, std::coroutine_handle<> sleeper) {
    const auto admission = context.loop->admit(context);
    timer_.cancelled = admission == EventLoop::Admission::refuse;
    if (admission != EventLoop::Admission::proceed) return !timer_.cancelled;
    timer_.waiter = sleeper;
    context.loop->timers().arm(timer_);
    return true;
}

Result<void> Sleep::await_resume() const {
    if (timer_.cancelled) return std::errc::operation_canceled;
    return {};
}

} // namespace ringlet
