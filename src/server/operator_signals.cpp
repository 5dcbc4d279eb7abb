#include "operator_signals.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

#include <sched.h>
#include <unistd.h>

namespace ringlet {

namespace {

struct Start {
    char* const* argv;
    sigset_t mask;
    int error = 0;
};

// Runs in memory shared with the parent, which is suspended until this has ended: only system calls are allowed.
int become(void* argument) {
    auto& start = *static_cast<Start*>(argument);
    ::sigprocmask(SIG_SETMASK, &start.mask, nullptr);
    ::execvp(start.argv[0], start.argv);
    start.error = errno;
    ::_exit(127);
}

// Starts a child of our parent, not of us: the service manager watches it as it watches us, and a failed start leaves
// no zombie. The first process of a container has no such parent. Returns its number, or a negative errno.
pid_t start_beside(char* const* argv) {
    constexpr int shared = CLONE_VM | CLONE_VFORK | SIGCHLD;
    Start start{.argv = argv, .mask = {}};
    sigemptyset(&start.mask);
    alignas(16) static std::array<std::byte, 65'536> stack; // one SIGUSR2 is handled at a time
    void* const top = stack.data() + stack.size();
    pid_t pid = ::clone(become, top, shared | CLONE_PARENT, &start);
    if (pid < 0 && errno == EINVAL) pid = ::clone(become, top, shared, &start);
    if (pid < 0) return -errno;
    return start.error != 0 ? -start.error : pid;
}

} // namespace

void start_anew(char** argv, const char* more, Log& log) {
    std::vector<char*> arguments;
    for (char** one = argv; *one != nullptr; ++one) arguments.push_back(*one);
    std::string last(more != nullptr ? more : "");
    if (more != nullptr) arguments.push_back(last.data());
    arguments.push_back(nullptr);
    const pid_t pid = start_beside(arguments.data());
    if (pid > 0) {
        log.write(LogLevel::warning, fmt::format("started anew as process {}", pid));
    } else {
        log.write(LogLevel::error, fmt::format("{} could not be started: {}", argv[0],
                                               std::generic_category().message(-pid)));
    }
}

} // namespace ringlet
