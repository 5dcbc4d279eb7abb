#pragma once

#include <ringlet/deadline.hpp>
#include <ringlet/detail/as_task.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/detail/when_core.hpp>
#include <ringlet/event_loop.hpp>

#include <array>
#include <cstddef>
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
class [[nodiscard]] WhenAwaiter final : public WhenCore {
public:
    explicit WhenAwaiter(As&&... awaitables)
        : WhenCore(any),
          arms_{{WhenArm(new ArmOf<As>(AsTask<As>::make(std::forward<As>(awaitables))),
                         AsTask<As>::has_name)...}} {}
    /// Move it only before it is awaited.
    WhenAwaiter(WhenAwaiter&&) noexcept = default;
    WhenAwaiter& operator=(WhenAwaiter&&) = delete;
    ~WhenAwaiter() = default;

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return begin(scope_of(waiting), waiting, arms_);
    }
    auto await_resume() {
        end();
        return take_outcomes(std::index_sequence_for<As...>());
    }

private:
    template <class A>
    using ArmOf = ArmTask<typename AsTask<A>::Value>;

    template <std::size_t... I>
    auto take_outcomes(std::index_sequence<I...>) {
        using Outcomes = std::tuple<Outcome<typename AsTask<As>::Value>...>;
        Outcomes outcomes{static_cast<ArmOf<As>&>(arms_[I].record()).take_outcome()...};
        if constexpr (any) {
            return WhenAny<Outcome<typename AsTask<As>::Value>...>{first(), std::move(outcomes)};
        } else {
            return outcomes;
        }
    }

    std::array<WhenArm, sizeof...(As)> arms_;
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
