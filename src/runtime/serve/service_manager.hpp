#pragma once

// What a program tells the service manager that started it (sd_notify(3)): one datagram each, to the Unix socket that
// NOTIFY_SOCKET names. Nothing here ever waits: without room a message is not sent, and the call says so.

#include <ringlet/clock.hpp>
#include <ringlet/endpoint.hpp>

#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace ringlet {

/// Thread    Any.
class ServiceManager {
public:
    /// The one that NOTIFY_SOCKET names, with a watchdog if WATCHDOG_USEC says so and WATCHDOG_PID is this process or
    /// not set. There is none in a simulation.
    /// A successor has the previous program's WATCHDOG_PID, and is now the one watched.
    static ServiceManager of_environment(bool is_successor = false);

    /// No manager: nothing is sent.
    ServiceManager() = default;
    ServiceManager(const Endpoint& socket, Clock::duration watchdog)
        : socket_(socket), watchdog_(watchdog) {}

    [[nodiscard]] explicit operator bool() const noexcept { return socket_.has_value(); }

    /// It kills a program that has not called `alive` for this long; 0: never.
    [[nodiscard]] Clock::duration watchdog() const noexcept { return watchdog_; }

    // Each returns false if it was not sent: try again later. `status` is for people, and one line.

    /// The service has started, or has reloaded.
    bool ready(std::string_view status) const;
    /// The service is stopping.
    bool stopping(std::string_view status) const;
    /// The configuration is being reloaded; `reloaded` follows when that is done.
    bool reloading() const;
    bool reloaded() const;
    bool status(std::string_view status) const;
    /// The service is `successor` from now on. The manager ignores what this process says afterwards.
    bool followed_by(pid_t successor) const;
    bool alive() const;

private:
    [[nodiscard]] bool tell(std::string_view assignments) const;

    std::optional<Endpoint> socket_;
    Clock::duration watchdog_{0};
};

/// What NOTIFY_SOCKET says: a path, or an abstract name behind an `@`. Nothing for anything else.
[[nodiscard]] std::optional<Endpoint> read_notify_socket(const char* socket);

/// What WATCHDOG_USEC and WATCHDOG_PID say; 0 if they are for another process, or make no sense.
[[nodiscard]] Clock::duration read_watchdog(const char* time_us, const char* pid, pid_t own_pid);

} // namespace ringlet
