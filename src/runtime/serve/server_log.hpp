#pragma once

// What a server writes to its log (`ServeOptions::log`), and what it has already written. Without a log every
// function does nothing.

#include <ringlet/backend.hpp>
#include <ringlet/clock.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/log.hpp>
#include <ringlet/server.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace ringlet {

// ---- of a server, or of several workers together

void log_start(Log* log, const std::vector<Endpoint>& addresses, const ServeOptions& options,
               const BackendChoice& backend) noexcept;
/// The first stop, or a later one.
void log_stop(Log* log, int times) noexcept;
void log_end(Log* log, const ServeReport& report) noexcept;

/// A connection whose start and end are logged.
class LoggedConnection {
public:
    LoggedConnection(std::shared_ptr<Log> log, std::string peer);
    LoggedConnection(LoggedConnection&& other) noexcept = default;
    LoggedConnection& operator=(LoggedConnection&&) = delete;
    ~LoggedConnection();

private:
    std::shared_ptr<Log> log_; // null once it was moved from
    std::string peer_;
    Clock::time_point since_ = Clock::now();
};

/// What one worker logs.
class WorkerLog {
public:
    /// Longer than a pause takes: accepting has been tried since then.
    static constexpr std::chrono::milliseconds calm_time = 3 * Server::accept_pause_limit;

    WorkerLog(std::shared_ptr<Log> log, std::size_t worker)
        : log_(std::move(log)), worker_(worker) {}

    [[nodiscard]] Log* get() const noexcept { return log_.get(); }

    /// Returns whether this pause is the first after a time without any, and logs it then. Needs a log.
    bool pauses(const std::string& line) noexcept;
    /// Logs that accepting continues, and returns true, once there was no pause for `calm_time`.
    bool goes_on() noexcept;
    void waits_for_room(std::size_t limit) noexcept;
    [[nodiscard]] bool has_told_of_limit() const noexcept { return full_since_.has_value(); }
    /// Logs only once more than a sixteenth is free: fewer places are taken again at once.
    void has_room(std::size_t free_places) noexcept {
        if (full_since_ && free_places > limit_ / 16) tell_room();
    }
    void accepting_failed(std::error_code error) noexcept;
    void handler_failed(const std::string& line) noexcept;

    [[nodiscard]] bool takes_connections() const noexcept {
        return log_ != nullptr && log_->takes(LogLevel::debug);
    }
    [[nodiscard]] LoggedConnection connection(std::string peer) const {
        return {log_, std::move(peer)};
    }

private:
    void tell_room() noexcept;

    std::shared_ptr<Log> log_;
    std::size_t worker_;
    std::optional<Clock::time_point> paused_since_;
    Clock::time_point last_pause_;
    std::optional<Clock::time_point> full_since_;
    std::size_t limit_ = 0; // as it was logged
};

} // namespace ringlet
