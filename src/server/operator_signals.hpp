#pragma once

// What SIGHUP and SIGUSR2 do to a server.

#include <ringlet/log.hpp>
#include <ringlet/tls.hpp>

#include <optional>
#include <string>

namespace ringlet {

/// Reads the certificate again. Existing connections keep the old one.
inline void reload(std::optional<TlsContext>& tls, Log& log) {
    if (!tls) return log.write(LogLevel::warning, "SIGHUP: there is no certificate to read again");
    std::string cause;
    auto reloaded = tls->reload(&cause);
    if (reloaded) return log.write(LogLevel::warning, "the certificate was read again");
    log.write(LogLevel::error, "the certificate was not read again: " +
                                   (cause.empty() ? reloaded.error().message() : cause));
}

/// Starts the same program with the same arguments, and one more unless that is null. Nothing waits for it: it
/// takes the listeners over when it can serve.
void start_anew(char** argv, const char* more, Log& log);

inline void refuse_to_start_anew(Log& log) {
    log.write(LogLevel::warning, "SIGUSR2 needs --hand-over: without it both would want the port");
}

} // namespace ringlet
