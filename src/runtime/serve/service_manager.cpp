#include "serve/service_manager.hpp"

#include "base/kernel.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <span>

#include <unistd.h>

namespace ringlet {

namespace {

std::optional<std::int64_t> positive_number(const char* text) {
    const std::string_view all(text);
    std::int64_t number = 0;
    const auto [rest, failure] = std::from_chars(all.data(), all.data() + all.size(), number);
    if (failure != std::errc{} || rest != all.data() + all.size() || number <= 0)
        return std::nullopt;
    return number;
}

// A path may have any bytes; a line of the protocol ends at the first newline.
std::string status_line(std::string_view status) {
    std::string line = "\nSTATUS=" + std::string(status);
    std::replace(line.begin() + 1, line.end(), '\n', ' ');
    return line;
}

} // namespace

std::optional<Endpoint> read_notify_socket(const char* socket) {
    if (socket == nullptr || (socket[0] != '/' && socket[0] != '@')) return std::nullopt;
    auto endpoint = Endpoint::parse("unix:" + std::string(socket));
    if (!endpoint) return std::nullopt;
    return *endpoint;
}

Clock::duration read_watchdog(const char* time_us, const char* pid, pid_t own_pid) {
    if (time_us == nullptr) return Clock::duration(0);
    if (pid != nullptr && positive_number(pid) != own_pid) return Clock::duration(0);
    return saturated(std::chrono::microseconds(positive_number(time_us).value_or(0)));
}

ServiceManager ServiceManager::of_environment(bool is_successor) {
    if (!Kernel::of_this_thread().situation().empty()) return {};
    const auto socket = read_notify_socket(std::getenv("NOTIFY_SOCKET"));
    if (!socket) return {};
    const char* const watched = is_successor ? nullptr : std::getenv("WATCHDOG_PID");
    return {*socket, read_watchdog(std::getenv("WATCHDOG_USEC"), watched, ::getpid())};
}

bool ServiceManager::ready(std::string_view status) const {
    return tell("READY=1" + status_line(status));
}

bool ServiceManager::stopping(std::string_view status) const {
    return tell("STOPPING=1" + status_line(status));
}

// The time distinguishes this reload's answer from an earlier one: systemd.service(5), Type=notify-reload.
bool ServiceManager::reloading() const {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const std::int64_t us = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
    return tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(us));
}

bool ServiceManager::reloaded() const { return tell("READY=1"); }

bool ServiceManager::status(std::string_view status) const {
    return tell(std::string_view(status_line(status)).substr(1));
}

bool ServiceManager::followed_by(pid_t successor) const {
    return tell("MAINPID=" + std::to_string(successor));
}

bool ServiceManager::alive() const { return tell("WATCHDOG=1"); }

// A new socket each time: the manager may have been restarted, and there are only a few messages a minute.
bool ServiceManager::tell(std::string_view assignments) const {
    if (!socket_) return true;
    Kernel& kernel = Kernel::of_this_thread();
    auto opened = kernel.open_socket(AF_UNIX, SOCK_DGRAM);
    if (!opened || !kernel.choose_peer(opened->get(), *socket_)) return false;
    auto sent = kernel.send_now(opened->get(), std::as_bytes(std::span(assignments)));
    return sent && *sent == assignments.size();
}

} // namespace ringlet
