#pragma once

// Runs code in a child process, for promises whose violation ends the program.

#include "support.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>
#include <type_traits>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ringlet::testing {

/// How a child process ended.
struct ChildOutcome {
    int signal = 0;      ///< the signal that ended it, or 0
    int exit_status = 0; ///< if no signal ended it
    std::string error_output;

    [[nodiscard]] bool succeeded() const { return signal == 0 && exit_status == 0; }
    [[nodiscard]] std::string to_string() const {
        return (signal != 0 ? "signal " + std::to_string(signal)
                            : "exit status " + std::to_string(exit_status)) +
               ", stderr: " + error_output;
    }
};

/// Runs `fn()` in a child process and waits for its end. The child's exit status is what `fn`
/// returns, or 0. A child that hangs is ended by SIGALRM after `limit_seconds`.
///
/// Thread    The only one: a child of fork(2) has no other threads.
inline ChildOutcome run_in_child(const std::function<int()>& fn, unsigned limit_seconds = 30) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);

    // Otherwise both processes would write what is buffered: TSan's _exit(2) flushes it.
    std::cout.flush();
    std::fflush(nullptr);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // doctest's handlers would report a failed case.
        for (const int signal :
             {SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGINT, SIGSEGV, SIGTERM}) {
            std::signal(signal, SIG_DFL);
        }
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::dup2(write_end.get(), STDERR_FILENO);
        ::alarm(limit_seconds);
        ::_exit(fn());
    }

    write_end.reset();
    ChildOutcome outcome;
    std::array<char, 4096> piece{};
    for (;;) {
        const ssize_t count = ::read(read_end.get(), piece.data(), piece.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        outcome.error_output.append(piece.data(), static_cast<std::size_t>(count));
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
    if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
    return outcome;
}

template <class Fn>
    requires std::is_void_v<std::invoke_result_t<Fn&>>
ChildOutcome run_in_child(Fn fn, unsigned limit_seconds = 30) {
    const std::function<int()> call = [&fn] {
        fn();
        return 0;
    };
    return run_in_child(call, limit_seconds);
}

/// Checks that `fn()` ends its process with SIGABRT after printing `message`.
inline void check_aborts(std::string_view message, const std::function<void()>& fn) {
    const ChildOutcome outcome = run_in_child(fn);
    CHECK_MESSAGE(outcome.signal == SIGABRT, outcome.to_string());
    const bool said = outcome.error_output.find(message) != std::string::npos;
    const auto text = "expected: " + std::string(message) + "; got: " + outcome.to_string();
    CHECK_MESSAGE(said, text);
}

} // namespace ringlet::testing
