#pragma once

// The signals that a server obeys, and a warning if they may go to another thread.

#include <ringlet/result.hpp>
#include <ringlet/server.hpp>
#include <ringlet/signal_stream.hpp>
#include <ringlet/task.hpp>

namespace ringlet {

/// SIGTERM, SIGINT, and `ServeOptions::dump_signal`. Other threads that do not block SIGTERM are reported: the kernel
/// may give it to one of them, and it ends the program there.
Result<SignalStream> watch_stop_signals(const ServeOptions& options);

/// The next signal. A server that no longer reads its signals could not be stopped: an error is reported once,
/// and the read is retried with pauses.
///
/// Errors    `operation_canceled`, no other.
Task<Result<int>> next_signal(SignalStream& signals, const ServeOptions& options);

} // namespace ringlet
