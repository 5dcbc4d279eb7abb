#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/task.hpp>

#include <coroutine>
#include <optional>
#include <system_error>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// An await that usually has its answer at once, and otherwise runs a coroutine for it: `try_now()` returns an
/// optional `R`, a `Result`, and `wait()` a `Task<R>`.
///
/// Suspends  Like the task. After many immediate answers in a row other tasks run first, as with every await.
/// Cost      No frame if the answer is available.
template <class R, class TryNow, class Wait>
class [[nodiscard]] AnswerOrTask final {
public:
    AnswerOrTask(TryNow try_now, Wait wait) noexcept
        : try_now_(std::move(try_now)), wait_(std::move(wait)) {}
    /// Move it only before it is awaited.
    AnswerOrTask(AnswerOrTask&&) = default;
    AnswerOrTask& operator=(AnswerOrTask&&) = delete;

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        CancelScope& scope = scope_of(waiting);
        const auto admission = scope.loop->admit(scope);
        if (admission != LoopCore::Admission::proceed) [[unlikely]] {
            answer_.emplace(std::make_error_code(std::errc::operation_canceled));
            return scope.loop->suspend_refused(admission, scope, waiting);
        }
        if (std::optional<R> answer = try_now_()) {
            answer_.emplace(std::move(*answer));
            return scope.loop->answered_at_once(scope, waiting);
        }
        task_ = wait_();
        return task_.in(&scope).await_suspend(waiting);
    }
    R await_resume() {
        if (answer_) return std::move(*answer_);
        return task_.frame().promise().take();
    }

private:
    TryNow try_now_;
    Wait wait_;
    std::optional<R> answer_;
    Task<R> task_;
};

template <class R, class TryNow, class Wait>
auto answer_or_task(TryNow try_now, Wait wait) {
    return AnswerOrTask<R, TryNow, Wait>(std::move(try_now), std::move(wait));
}

} // namespace ringlet
