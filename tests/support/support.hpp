#pragma once

// What the unit tests share.

#include <ringlet/ringlet.hpp>

#include <doctest/doctest.h>

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

/// Names what the case waits for, for the message of the watchdog. `what` must be a literal.
void waiting_for(const char* what);

/// Runs `fn(args...)` on a loop of its own and returns what `EventLoop::run` does. `fn` must be a
/// named object or a function (g++ 12 destroys the captures of a temporary twice in a co_await;
/// this is no co_await, so that any callable does).
template <class Fn, class... Args>
auto run_on_loop(Fn&& fn, Args&&... args) {
    auto loop = EventLoop::create();
    REQUIRE_MESSAGE(loop, loop.error().message());
    return loop->run(std::forward<Fn>(fn), std::forward<Args>(args)...);
}

} // namespace ringlet::testing
