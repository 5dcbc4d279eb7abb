#pragma once

// What the unit tests share.

#include "base/sanitizer.hpp"

#include <ringlet/ringlet.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string_view>

// Ends a case that cannot run here. The program ends with 77, which ctest counts as skipped, when
// every case that it ran was skipped.
#define RINGLET_SKIP(reason)                                                                       \
    do {                                                                                           \
        ::ringlet::testing::skipped(reason);                                                       \
        return;                                                                                    \
    } while (false)

namespace ringlet::testing {

/// Notes and prints that a case was skipped: see RINGLET_SKIP.
void skipped(const char* reason);

#ifdef __SANITIZE_THREAD__
inline constexpr bool thread_sanitizer_runs = true;
#elif defined(__has_feature)
inline constexpr bool thread_sanitizer_runs = __has_feature(thread_sanitizer);
#else
inline constexpr bool thread_sanitizer_runs = false;
#endif
/// Everything takes about five times as long.
inline constexpr bool sanitizer_runs = address_sanitizer_runs || thread_sanitizer_runs;

/// How many seeds of the simulation a case runs: a sanitizer takes five times as long, and has a fifth of them, unless the
/// environment has RINGLET_FULL.
[[nodiscard]] std::uint64_t seeds(std::uint64_t count);

/// Names what the case waits for, for the message of the watchdog. `what` must be a literal.
void waiting_for(const char* what);

inline void require(const Result<EventLoop>& loop) {
    REQUIRE_MESSAGE(loop, loop.error().message());
}

/// Runs `fn(args...)` on a loop of its own and returns what `EventLoop::run` does. `fn` must be a
/// named object or a function (g++ 12 destroys the captures of a temporary twice in a co_await;
/// this is no co_await, so that any callable does).
template <class Fn, class... Args>
auto run_on_loop(Fn&& fn, Args&&... args) {
    auto loop = EventLoop::create();
    require(loop);
    return loop->run(std::forward<Fn>(fn), std::forward<Args>(args)...);
}

} // namespace ringlet::testing
