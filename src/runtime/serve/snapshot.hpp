#pragma once

// What a worker reports about itself when asked: its own counters, copied on its own thread.

#include <ringlet/backend.hpp>
#include <ringlet/server.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace ringlet {

enum class ServePhase : std::uint8_t { starting, accepting, draining };

/// How often accepting paused, by cause.
struct AcceptPauses {
    std::uint64_t at_limit = 0;  ///< of connections
    std::uint64_t exhausted = 0; ///< descriptors or memory
    std::uint64_t other = 0;
};

struct WorkerSnapshot {
    ServePhase phase = ServePhase::starting;
    ServeReport report; ///< so far; with the loop's statistics
    std::size_t live_connections = 0;
    AcceptPauses pauses;
    std::ptrdiff_t lent_buffers = 0;
    std::ptrdiff_t task_bytes = 0; ///< of frames, records and sockets
    BackendChoice backend;
};

/// What is known of one worker.
struct WorkerState {
    bool has_ended = false;
    std::optional<WorkerSnapshot> snapshot = {}; ///< none: it did not answer in time, or has ended
};

/// What is known of a server.
struct ServerState {
    std::vector<WorkerState> workers;
    std::size_t connection_limit = 0; ///< of all together
};

} // namespace ringlet
