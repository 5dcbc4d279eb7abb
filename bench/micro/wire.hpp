#pragma once

// What streams, readers, datagrams, files and children cost.

#include <ringlet/event_loop.hpp>

// Each returns the nanoseconds of one operation, in one round.

/// A line of 64 bytes through a Reader, beyond what it costs to receive its bytes.
double line_round(ringlet::EventLoop& loop);
/// A text of 64 bytes written to a Writer.
double write_round(ringlet::EventLoop& loop);
/// A receive through an AnyStream, beyond the receive.
double any_stream_round(ringlet::EventLoop& loop);
/// A datagram of 64 bytes, sent and received on the loopback device.
double datagram_round(ringlet::EventLoop& loop);
/// 4 KiB of a file that is in memory.
double file_round(ringlet::EventLoop& loop);
/// Bytes of the pool that an idle connection holds whose handler calls `recv`, or has a Reader and a Writer: its task,
/// its frames and its socket. Aborts if it holds a buffer.
double idle_bytes(ringlet::EventLoop& loop, bool with_reader);
/// A child that is started, ends at once and is waited for.
double child_round(ringlet::EventLoop& loop);
