#pragma once

// What a server tells its service manager in the course of its life: that it listens, that it stops, what it does, and
// that its loops turn. One worker tells it by a task of its own loop, several by the loop that waits for them.

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

/// What is to be told. Outlives the telling.
struct Informant {
    std::vector<Endpoint> addresses;
    Event& stopping;
    std::function<std::size_t()> connections;
    /// Whether all loops have turned since this was asked last.
    std::function<bool()> turns;
    /// The next program tells it from now on.
    const bool& is_followed;
    /// Is readable when the program before tells nothing any more; empty: there was none.
    UniqueFd predecessor_leaving = {};
};

/// How often the line about its work may change, at most.
inline constexpr std::chrono::seconds status_interval{2};

/// Tells until it is cancelled. A message for which there was no room is sent again; of a watchdog's time a quarter passes
/// between two of them.
Task<> keep_informed(ServiceManager manager, Informant about);

/// Tells the manager which process the service is from now on.
Task<> introduce(const ServeOptions& options, pid_t successor);

/// Calls `ServeOptions::on_signal`. Of the signal that reloads the manager is told before and after it: then it is called
/// by a task of the loop, since a manager may have to be waited for.
void call_hook(EventLoop& loop, const ServeOptions& options, int signal, bool is_stopping);

/// `serving 12 connections on 127.0.0.1:3200`.
[[nodiscard]] std::string status_of(const Informant& about);

} // namespace ringlet
