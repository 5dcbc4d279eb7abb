#pragma once

// What a handler may ask of the server that serves its connection.

#include <ringlet/event.hpp>
#include <ringlet/task_local.hpp>

#include "serve/connection_channel.hpp"
#include "serve/departures.hpp"

#include <memory>

namespace ringlet {

struct CurrentServer {
    Event draining{"draining"};
    Departures departures;
};

/// The server of the current task; null outside any server.
[[nodiscard]] TaskLocal<CurrentServer*>& current_server() noexcept;

/// What came along with the connection that this task serves; null if it is new.
[[nodiscard]] TaskLocal<std::shared_ptr<const HandedOver>>& handed_over() noexcept;

} // namespace ringlet
