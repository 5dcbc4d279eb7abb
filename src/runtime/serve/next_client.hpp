#pragma once

// How a service beside the server's own connections accepts: metrics, commands, the next program. Keeps the promise that
// no error, known or not and however long it lasts, ends it or makes it busy.

#include <ringlet/result.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>

#include <cstddef>
#include <functional>

namespace ringlet {

/// The next client of a listener on which no accept is in flight. Not by `accept`: a ring with direct descriptors would
/// take a place from its table.
///
/// Suspends  Until one comes. After an error it waits, each time longer, up to `Server::accept_pause_limit`.
/// Cancel    Ends with `operation_canceled`.
/// Errors    No other.
Task<Result<StreamSocket>> next_client(StreamListener& listener);

/// Serves them until it is cancelled, so many at a time; the others wait in the listener's queue. `name` is that of the
/// group and of its tasks.
Task<> serve_clients(StreamListener& listener, const char* name, std::size_t limit,
                     std::function<Task<>(StreamSocket)> serve);

} // namespace ringlet
