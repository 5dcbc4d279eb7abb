#include "operator_signals.hpp"

#include <fmt/format.h>

#include <csignal>
#include <system_error>

#include <spawn.h>
#include <unistd.h>

namespace ringlet {

void start_anew(bool hands_over, char** argv, Log& log) {
    if (!hands_over) {
        return log.write(LogLevel::warning,
                         "SIGUSR2 needs --hand-over: without it both would want the port");
    }
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    const int error = posix_spawnp(&pid, argv[0], nullptr, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        log.write(LogLevel::error, fmt::format("{} could not be started: {}", argv[0],
                                               std::generic_category().message(error)));
    } else {
        log.write(LogLevel::warning, fmt::format("started anew as process {}", pid));
    }
}

} // namespace ringlet
