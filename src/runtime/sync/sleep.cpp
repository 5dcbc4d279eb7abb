#include <ringlet/sleep.hpp>

namespace ringlet {

bool Sleep::arm(CancelScope& in, std::coroutine_handle<> sleeper) {
    const auto admission = in.loop->admit(in);
    cancelled_ = admission != LoopCore::Admission::proceed;
    if (cancelled_) return in.loop->suspend_refused(admission, *this, in, sleeper);
    in.loop->suspend(*this, in, sleeper);
    in.loop->timers().arm(*this);
    return true;
}

void Sleep::cancel() noexcept {
    if (!is_armed()) return;
    scope->loop->timers().disarm(*this);
    scope->note_answered();
    cancelled_ = true;
    scope->loop->make_ready(*this);
}

void Sleep::expired() noexcept { scope->loop->make_ready(*this); }

std::string Sleep::describe() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    return "sleep, " + std::to_string(left.count()) + " ms left";
}

Result<void> Sleep::await_resume() const {
    if (cancelled_) return std::errc::operation_canceled;
    return {};
}

} // namespace ringlet
