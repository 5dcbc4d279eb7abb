#pragma once

// One message there and back, every byte of it compared: what both kinds of runs do.

#include <ringlet/ringlet.hpp>

#include <cstddef>
#include <span>

/// Sends `request` and receives as much into `reply`, which has the same size. Returns whether every
/// byte is right.
ringlet::Task<ringlet::Result<bool>> exchange(ringlet::TcpStream& stream,
                                              std::span<const std::byte> request,
                                              std::span<std::byte> reply);
