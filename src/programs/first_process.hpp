#pragma once

// A program as the first process of a container, which the kernel protects from signals that it does not
// handle itself (pid_namespaces(7)): otherwise SIGTERM would do nothing, and SIGKILL would end it later.

#include <csignal>
#include <initializer_list>

#include <unistd.h>

/// Lets SIGINT and SIGTERM end this process with 128 and their number, as shells report it, if it is the first one
/// of its namespace. Other processes, and ignored signals, stay as they are.
inline void end_by_signals_as_first_process() {
    if (::getpid() != 1) return;
    for (const int number : {SIGINT, SIGTERM}) {
        const auto before = std::signal(number, [](int which) { ::_exit(128 + which); });
        if (before != SIG_DFL) std::signal(number, before);
    }
}
