#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/event.hpp>

namespace RINGLET_EXPORT ringlet {

/// Whether the server that owns this task's connection is draining: it has been asked to stop, accepts no new
/// connections, and waits for its handlers (`ServeOptions::drain_timeout`). False outside a server.
///
///     if (is_draining()) co_return; // after an answer: a good moment to say goodbye
///
/// Thread    The server's own.
[[nodiscard]] bool is_draining() noexcept;

/// Waits until the server is draining. A connection that is kept open between requests can then end at once, instead
/// of delaying the end of the program until the drain timeout:
///
///     auto [stopping, request] = co_await when_any(draining(), read_request(stream));
///
/// Thread    The server's own.
/// Suspends  If the server is not draining yet. Outside a server, forever.
/// Cancel    Ends with `operation_canceled`.
/// Returns   `Result<void>`.
[[nodiscard]] Event::Awaiter draining() noexcept;

} // namespace ringlet
