#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/event.hpp>

namespace RINGLET_EXPORT ringlet {

/// Whether the server that this task serves a connection of has been told to stop: it accepts nobody new, and
/// waits for its handlers (`ServeOptions::drain_timeout`). False beside any server.
///
///     if (is_draining()) co_return; // after an answer: a good moment to say goodbye
///
/// Thread    The server's own.
[[nodiscard]] bool is_draining() noexcept;

/// Waits until it is. A connection that is kept open between requests ends then, instead of holding the program
/// back until the drain time is over:
///
///     auto [stopping, request] = co_await when_any(draining(), read_request(stream));
///
/// Thread    The server's own.
/// Suspends  If the server does not drain yet. Beside any server, for ever.
/// Cancel    Ends with `operation_canceled`.
/// Returns   `Result<void>`.
[[nodiscard]] Event::Awaiter draining() noexcept;

} // namespace ringlet
