#pragma once

// What the unit tests share.

#include <ringlet/ringlet.hpp>

#include <doctest/doctest.h>

#include <cstdio>
#include <string_view>

// A case that cannot run here: counted by ctest as skipped.
#define RINGLET_SKIP(reason)                                                                       \
    do {                                                                                           \
        std::printf("\nSKIP: %s\n", reason);                                                       \
        return;                                                                                    \
    } while (false)

namespace ringlet::testing {

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
