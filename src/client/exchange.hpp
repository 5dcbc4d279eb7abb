#pragma once

// One message there and back, every byte of it compared: what both kinds of runs do.

#include <ringlet/ringlet.hpp>

#include <cstddef>
#include <span>

/// Connects to a server of either kind: HOST:PORT, or a Unix socket.
ringlet::Task<ringlet::Result<ringlet::StreamSocket>>
open_connection(const ringlet::Endpoint& server, const ringlet::ConnectOptions& options);

/// Sends `request` and receives as much into `reply`, which has the same size. Returns whether every
/// byte is right.
ringlet::Task<ringlet::Result<bool>> exchange(ringlet::StreamSocket& stream,
                                              std::span<const std::byte> request,
                                              std::span<std::byte> reply);
