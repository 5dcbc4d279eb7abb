#pragma once

// What a program tells the service manager that started it (sd_notify(3)): one datagram each, to the Unix socket that
// NOTIFY_SOCKET names. Keeps the promise that nothing here ever waits: what finds no room is not sent, and says so.

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
    /// A successor has WATCHDOG_PID of the program before, and is what is watched now.
    static ServiceManager of_environment(bool is_successor = false);

    /// There is none: nothing is told.
    ServiceManager() = default;
    ServiceManager(const Endpoint& socket, Clock::duration watchdog)
        : socket_(socket), watchdog_(watchdog) {}

    [[nodiscard]] explicit operator bool() const noexcept { return socket_.has_value(); }

    /// It kills a program that was not `alive` for so long; 0: it does not.
    [[nodiscard]] Clock::duration watchdog() const noexcept { return watchdog_; }

    // Each returns false if it was not sent: try again later. `status` is for people, and one line.

    /// What was started, or loaded anew, is there.
    bool ready(std::string_view status) const;
    /// It stops.
    bool stopping(std::string_view status) const;
    /// The configuration is being loaded anew; `reloaded` follows when it is.
    bool reloading() const;
    bool reloaded() const;
    bool status(std::string_view status) const;
    /// The service is this process from now on. What the one that tells it says afterwards is not heard.
    bool followed_by(pid_t successor) const;
    bool alive() const;

private:
    [[nodiscard]] bool tell(std::string_view assignments) const;

    std::optional<Endpoint> socket_;
    Clock::duration watchdog_{0};
};

/// What NOTIFY_SOCKET says: a path, or an abstract name behind an `@`. Nothing for what is neither.
[[nodiscard]] std::optional<Endpoint> read_notify_socket(const char* socket);

/// What WATCHDOG_USEC and WATCHDOG_PID say; 0 if they are for another process, or make no sense.
[[nodiscard]] Clock::duration read_watchdog(const char* time_us, const char* pid, pid_t own_pid);

} // namespace ringlet
