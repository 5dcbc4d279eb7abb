#pragma once

// What a server tells its service manager in the course of its life: that it listens, that it stops, what it does, and
// that its loops turn. One worker does so in a task of its own loop, several in the loop that waits for them.

#include <ringlet/clock.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/event.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/server.hpp>
#include <ringlet/task.hpp>
#include <ringlet/unique_fd.hpp>

#include "serve/service_manager.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace ringlet {

/// What to tell the manager. What it refers to outlives the task that tells it.
struct Informant {
    std::vector<Endpoint> addresses;
    Event& stopping;
    std::function<std::size_t()> connections;
    /// Whether all loops have turned since this was asked last.
    std::function<bool()> turns;
    /// True when the next program informs the manager.
    const bool& is_followed;
    /// Readable when the previous program no longer informs the manager; empty: there was none.
    UniqueFd predecessor_leaving = {};
};

/// The shortest time between two changes of the status line.
inline constexpr std::chrono::seconds status_interval{2};

/// Informs the manager until cancelled. A message for which there was no room is sent again; a quarter of the
/// watchdog's time passes between two messages.
Task<> keep_informed(ServiceManager manager, Informant about);

/// Tells the manager which process the service is from now on.
Task<> introduce(const ServeOptions& options, pid_t successor);

/// Calls `ServeOptions::on_signal`. For the reload signal the manager is told before and after the call: a task of the
/// loop then does both, since it may have to wait for the manager.
void call_hook(EventLoop& loop, const ServeOptions& options, int signal, bool is_stopping);

/// `serving 12 connections on 127.0.0.1:3200`.
[[nodiscard]] std::string status_of(const Informant& about);

} // namespace ringlet
