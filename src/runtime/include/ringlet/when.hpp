#pragma once

#include <ringlet/deadline.hpp>
#include <ringlet/detail/as_task.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/event_loop.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The result of `when_any`: which operation ended first, and the outcome of each.
template <class... Results>
struct WhenAny {
    std::size_t index; ///< of the one that ended first
    /// Cancelled ones hold `operation_canceled`; one that finished before its cancellation took effect
    /// also holds its value.
    std::tuple<Results...> results;
};

/// A task inside `when_all`, as a child of the awaiting task.
template <class T>
class ArmTask final : public TypedTask<T> {
public:
    explicit ArmTask(Task<T> task) { this->adopt_frame(std::move(task)); }
    void drop_arguments() noexcept override {}
};

/// What `when_all` and `when_any` return; await it at once.
template <bool any, class... As>
class [[nodiscard]] WhenAwaiter final : public Suspension, public TaskOwner {
public:
    explicit WhenAwaiter(As&&... awaitables)
        : arms_(Arm<As>(new ArmOf<As>(AsTask<As>::make(std::forward<As>(awaitables))))...) {}
    /// Before it is awaited.
    WhenAwaiter(WhenAwaiter&& other) noexcept : Suspension(other), arms_(std::move(other.arms_)) {}
    WhenAwaiter(const WhenAwaiter&) = delete;
    WhenAwaiter& operator=(const WhenAwaiter&) = delete;
    ~WhenAwaiter() = default;

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        CancelScope& outer = scope_of(waiting);
        const auto try_now = [&] {
            inside_.open(outer, outer.task);
            std::apply([this](auto&... arm) { (this->template begin<As>(*arm), ...); }, arms_);
            return running_ == 0;
        };
        return suspend(outer, waiting, try_now, [] {});
    }
    auto await_resume() {
        inside_.close();
        if (thrown_) std::rethrow_exception(std::move(thrown_));
        auto results =
            std::apply([](auto&... arm) { return std::tuple(arm->take_outcome()...); }, arms_);
        if constexpr (any) {
            return std::apply(
                [this](auto&&... result) {
                    return WhenAny<std::remove_cvref_t<decltype(result)>...>{
                        first_, {std::move(result)...}};
                },
                std::move(results));
        } else {
            return results;
        }
    }

    void task_ended(TaskRecord& record) noexcept override {
        if (!somebody_ended_) {
            std::size_t index = 0;
            std::apply(
                [&](auto&... arm) { ((arm.get() == & record ? first_ = index : 0, ++index), ...); },
                arms_);
        }
        somebody_ended_ = true;
        if (!thrown_) thrown_ = record.exception();
        if (any) {
            inside_.cancel(CancelReason::requested);
        } else if (record.has_failed()) {
            inside_.cancel(CancelReason::sibling_failed);
        }
        if (--running_ == 0) wake();
    }
    [[nodiscard]] const char* name() const noexcept override { return "when"; }

    void cancel() noexcept override {} // the arms are inside, and were cancelled with it
    void abandon() noexcept override {}
    [[nodiscard]] std::string describe() const override {
        return std::to_string(running_) + " awaited together";
    }

private:
    template <class A>
    using ArmOf = ArmTask<typename AsTask<A>::Value>;
    struct Release {
        void operator()(TaskRecord* arm) const noexcept { arm->release_reference(); }
    };
    template <class A>
    using Arm = std::unique_ptr<ArmOf<A>, Release>; // its reference: the task may live longer

    template <class A>
    void begin(TaskRecord& arm) {
        const TaskRecord& task = *inside_.task;
        arm.spawned_at = task.spawned_at;
        if (!AsTask<A>::has_name) arm.name = task.name;
        arm.add_reference();
        if (inside_.loop->adopt(arm, inside_, *this)) {
            ++running_;
        } else {
            arm.release_reference();
        }
    }
    std::tuple<Arm<As>...> arms_;
    CancelScope inside_;
    std::size_t running_ = 0;
    std::size_t first_ = 0;
    bool somebody_ended_ = false;
    std::exception_ptr thrown_; // the first
};

/// Awaits several tasks or operations at once, until all have ended:
/// `auto [line, slept] = co_await when_all(stream.recv(), sleep_for(1s));`
///
/// The first failure, an error or an exception, cancels the others.
///
/// Suspends  Until every one has ended.
/// Cancel    Cancels all of them. In a scope that is already cancelled none starts.
/// Returns   A tuple with a `Result` for each; cancelled ones hold `operation_canceled`.
/// Errors    The first exception is rethrown once all have ended.
/// Cost      Two blocks from the pool for each.
template <class... As>
auto when_all(As&&... awaitables) {
    return WhenAwaiter<false, As...>(std::forward<As>(awaitables)...);
}

/// Awaits several tasks or operations at once, until one has ended; the others are then cancelled and
/// waited for.
///
///     auto ended = co_await when_any(stream.recv(), event.wait());
///     auto& [chunk, told] = ended.results;
///
/// Suspends  Until every one has ended: the kernel must give back what was lent to it.
/// Cancel    Cancels all of them.
/// Returns   `WhenAny`: everything that arrived, so that a late success is not lost.
/// Errors    As `when_all`.
/// Cost      As `when_all`.
template <class... As>
auto when_any(As&&... awaitables) {
    return WhenAwaiter<true, As...>(std::forward<As>(awaitables)...);
}

} // namespace ringlet
