#pragma once

// Shared by the unit tests.

#include "base/sanitizer.hpp"

#include <ringlet/ringlet.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string_view>

// Ends a case that cannot run here. If every case was skipped, the program exits with 77, which ctest
// counts as skipped.
#define RINGLET_SKIP(reason)                                                                       \
    do {                                                                                           \
        ::ringlet::testing::skipped(reason);                                                       \
        return;                                                                                    \
    } while (false)

namespace ringlet::testing {

/// Records and prints that a case was skipped: see RINGLET_SKIP.
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

/// How many seeds of the simulation a case runs: under a sanitizer, which takes five times as long, a fifth of them,
/// unless RINGLET_FULL is set.
[[nodiscard]] std::uint64_t seeds(std::uint64_t count);

/// Names what the case waits for, for the watchdog's message. `what` must be a literal.
void waiting_for(const char* what);

inline void require(const Result<EventLoop>& loop) {
    REQUIRE_MESSAGE(loop, loop.error().message());
}

/// Runs `fn(args...)` on a new loop and returns the result of `EventLoop::run`. `fn` may be any
/// callable. Even a temporary is safe: g++ 12 destroys its captures twice only within a co_await,
/// and this is none.
template <class Fn, class... Args>
auto run_on_loop(Fn&& fn, Args&&... args) {
    auto loop = EventLoop::create();
    require(loop);
    return loop->run(std::forward<Fn>(fn), std::forward<Args>(args)...);
}

} // namespace ringlet::testing
