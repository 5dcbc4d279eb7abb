#include "serve/server_log.hpp"

#include <chrono>
#include <exception>

namespace ringlet {

namespace {

std::int64_t milliseconds_since(Clock::time_point moment) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - moment).count();
}

} // namespace

void log_start(Log* log, const std::vector<Endpoint>& addresses, const ServeOptions& options,
               const BackendChoice& backend) noexcept {
    if (log == nullptr || !log->takes(LogLevel::notice)) return;
    try {
        std::string text;
        for (const Endpoint& address : addresses)
            text.append(text.empty() ? "" : ",").append(address.to_string());
        log->write(LogLevel::notice, "listening",
                   {{"address", text},
                    {"backend", to_string(backend.backend)},
                    {"workers", options.workers},
                    {"max_connections", options.max_connections}});
    } catch (const std::exception&) {
        log->write(LogLevel::notice, "listening");
    }
}

void log_stop(Log* log, int times) noexcept {
    if (log == nullptr) return;
    log->write(LogLevel::notice, times > 1 ? "stopping at once: connections are cancelled"
                                           : "stopping: accepting ends, connections may finish");
}

void log_end(Log* log, const ServeReport& report) noexcept {
    if (log == nullptr) return;
    log->write(LogLevel::notice,
               report.cancelled_count > 0 ? "stopped, some connections were cancelled"
                                          : "stopped, every connection had ended",
               {{"served", report.accepted_count},
                {"failed", report.failed_count},
                {"cancelled", report.cancelled_count}});
}

LoggedConnection::LoggedConnection(std::shared_ptr<Log> log, std::string peer)
    : log_(std::move(log)), peer_(std::move(peer)) {
    log_->write(LogLevel::debug, "connection begins", {{"peer", peer_}});
}

LoggedConnection::~LoggedConnection() {
    if (log_ == nullptr) return;
    log_->write(LogLevel::debug, "connection ended",
                {{"peer", peer_}, {"lasted_ms", milliseconds_since(since_)}});
}

bool WorkerLog::pauses(const std::string& line) noexcept {
    last_pause_ = Clock::now();
    if (paused_since_) return false;
    paused_since_ = last_pause_;
    log_->write(LogLevel::warning, line, {{"worker", worker_}});
    return true;
}

bool WorkerLog::goes_on() noexcept {
    if (Clock::now() - last_pause_ < calm_time) return false;
    const auto paused =
        std::chrono::duration_cast<std::chrono::milliseconds>(last_pause_ - *paused_since_);
    log_->write(LogLevel::notice, "accepting goes on",
                {{"paused_ms", paused.count()}, {"worker", worker_}});
    paused_since_.reset();
    return true;
}

void WorkerLog::waits_for_room(std::size_t limit) noexcept {
    if (log_ == nullptr || full_since_) return;
    full_since_ = Clock::now();
    limit_ = limit;
    log_->write(LogLevel::notice, "at the limit of connections: further clients wait",
                {{"limit", limit}, {"worker", worker_}});
}

void WorkerLog::tell_room() noexcept {
    log_->write(LogLevel::notice, "below the limit of connections again",
                {{"at_limit_ms", milliseconds_since(*full_since_)}, {"worker", worker_}});
    full_since_.reset();
}

void WorkerLog::accepting_failed(std::error_code error) noexcept {
    if (log_ == nullptr) return;
    try {
        log_->write(LogLevel::error, "accepting failed for good: the server stops",
                    {{"error", error.message()}, {"worker", worker_}});
    } catch (const std::exception&) {
        log_->write(LogLevel::error, "accepting failed for good: the server stops");
    }
}

void WorkerLog::handler_failed(const std::string& line) noexcept {
    if (log_ != nullptr) log_->write(LogLevel::info, line, {{"worker", worker_}});
}

} // namespace ringlet
