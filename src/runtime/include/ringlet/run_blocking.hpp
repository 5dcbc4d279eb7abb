#pragma once

#include <ringlet/deadline.hpp>
#include <ringlet/detail/blocking_job.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/suspension.hpp>
#include <ringlet/result.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace RINGLET_EXPORT ringlet {

/// Whether a cancelled coroutine waits for its function on another thread.
enum class WhenCancelled : bool { abandon, wait };

/// What `run_blocking` returns; await it at once.
template <class R, WhenCancelled when>
class [[nodiscard]] BlockingAwaiter final : public Suspension {
public:
    struct Job : BlockingJob {
        using Stored = std::conditional_t<std::is_void_v<R>, std::monostate, R>;
        std::optional<Stored> value;
        std::exception_ptr exception;
    };
    explicit BlockingAwaiter(std::shared_ptr<Job> job) noexcept : job_(std::move(job)) {}
    /// Move it only before it is awaited.
    BlockingAwaiter(BlockingAwaiter&& other) noexcept
        : Suspension(other), job_(std::move(other.job_)) {}
    BlockingAwaiter(const BlockingAwaiter&) = delete;
    BlockingAwaiter& operator=(const BlockingAwaiter&) = delete;
    ~BlockingAwaiter() {
        if (job_) abandon();
    }

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return suspend(scope_of(waiting), waiting, [this] {
            job_->is_waited_for = when == WhenCancelled::wait;
            error_ = scope->loop->run_on_other_thread(job_, *this);
            if (error_) wake();
        });
    }
    Outcome<R> await_resume() {
        if (was_cancelled) return std::errc::operation_canceled;
        if (error_) return error_;
        if (job_->exception) std::rethrow_exception(job_->exception);
        if constexpr (std::is_void_v<R>) {
            return {};
        } else {
            return Outcome<R>(std::move(*job_->value));
        }
    }

    void cancel() noexcept override {
        if (job_->waiting != this || when == WhenCancelled::wait) return;
        abandon();
        end_cancelled();
    }
    void abandon() noexcept override {
        if (job_->waiting != this) return;
        job_->waiting = nullptr;
        scope->loop->forget_blocking_job(*job_);
    }
    [[nodiscard]] std::string describe() const override { return "a function on another thread"; }

private:
    std::shared_ptr<Job> job_;
    std::error_code error_; // no thread could be made
};

/// A function and its arguments, to be called on another thread. Not for users.
template <class R, WhenCancelled when, class Fn, class... Args>
struct BlockingCall final : BlockingAwaiter<R, when>::Job {
    template <class F, class... As>
    explicit BlockingCall(F&& callable, As&&... arguments)
        : fn(std::forward<F>(callable)), args(std::forward<As>(arguments)...) {}
    void run() noexcept override {
        try {
            if constexpr (std::is_void_v<R>) {
                std::apply(fn, std::move(args));
                this->value.emplace();
            } else {
                this->value.emplace(std::apply(fn, std::move(args)));
            }
        } catch (...) {
            this->exception = std::current_exception();
        }
    }
    Fn fn;
    std::tuple<Args...> args;
};

template <WhenCancelled when, class Fn, class... Args>
auto call_on_other_thread(Fn&& fn, Args&&... args) {
    using R = std::invoke_result_t<std::decay_t<Fn>&, std::decay_t<Args>...>;
    static_assert(!is_task_v<R>, "run_blocking calls a function that blocks, not a coroutine");
    using Call = BlockingCall<R, when, std::decay_t<Fn>, std::decay_t<Args>...>;
    return BlockingAwaiter<R, when>(
        std::make_shared<Call>(std::forward<Fn>(fn), std::forward<Args>(args)...));
}

/// Calls `fn(args...)` on another thread and waits for it, unless cancelled: for calls that can only block and may
/// take long, such as getaddrinfo(3) and long computations. Do not lend it anything of the coroutine: the function may
/// still run after the coroutine has gone. For that, use `run_blocking_to_end`.
///
///     auto look_up = [](std::string name) { return Endpoint::resolve(name); };
///     auto endpoint = co_await run_blocking(look_up, "localhost:3200");
///
/// Lifetime  `fn` and `args` are moved or copied into the job and live until it has run.
/// Thread    `fn` runs on one of `LoopOptions::blocking_threads` threads, and must not touch the loop.
///           In a simulation it runs at once, on the loop's thread.
/// Suspends  Always, until it has run. When all threads are busy, functions wait in line.
/// Cancel    Ends with `operation_canceled` at once. A function that has started runs on, and its result
///           is discarded; one that has not started never runs.
/// Returns   `Result<R>` for a function that returns R; R itself if that is a `Result`. An exception
///           from the function is rethrown.
/// Errors    `resource_unavailable_try_again` if there is no thread and none can be created (pthread_create(3),
///           the limits of `ulimit -u` and of the container): `fn` is not called.
/// Cost      One allocation, two wake-ups. The loop's end waits for functions that still run.
template <class Fn, class... Args>
auto run_blocking(Fn&& fn, Args&&... args) {
    RINGLET_ASSERT_SAFE_IN_CO_AWAIT(Fn);
    return call_on_other_thread<WhenCancelled::abandon>(std::forward<Fn>(fn),
                                                        std::forward<Args>(args)...);
}

/// As `run_blocking`, but always waits until the function has returned, cancelled or not. So the coroutine's memory may
/// be lent to it, and its outcome is known. For calls that take a while but not forever: files, system calls.
///
///     std::array<char, 512> block;
///     auto read = [&] { return ::pread(fd, block.data(), block.size(), 0); };
///     auto count = co_await run_blocking_to_end(read);
///
/// Cancel    Does not start in a cancelled scope: `operation_canceled`. A function that has started or is queued
///           is waited for, and its result is delivered; the next await then meets the cancellation.
template <class Fn, class... Args>
auto run_blocking_to_end(Fn&& fn, Args&&... args) {
    RINGLET_ASSERT_SAFE_IN_CO_AWAIT(Fn);
    return call_on_other_thread<WhenCancelled::wait>(std::forward<Fn>(fn),
                                                     std::forward<Args>(args)...);
}

} // namespace ringlet
