#include "serve/snapshot.hpp"

#include <ringlet/buffer.hpp>
#include <ringlet/detail/frame_pool.hpp>

#include "serve/server_state.hpp"

#include <utility>

namespace ringlet {

WorkerSnapshot Server::State::snapshot() const {
    WorkerSnapshot now;
    if (stops_ > 0 || here_.draining.is_set()) {
        now.phase = ServePhase::draining;
    } else if (connections_ != nullptr) {
        now.phase = ServePhase::accepting;
    }
    now.report = report;
    now.report.handed_over_count = here_.departures.gone_count();
    now.report.loop = loop->stats();
    now.live_connections = connections_ != nullptr ? connections_->size() : 0;
    now.pauses = pauses_;
    now.lent_buffers = Buffer::lent_count();
    now.task_bytes = FramePool::local().in_use().bytes;
    now.backend = loop->backend();
    return now;
}

// For a single worker.
Task<ServerState> Server::State::describe() const {
    ServerState server;
    server.connection_limit = options.max_connections;
    server.workers.push_back(WorkerState{.snapshot = snapshot()});
    co_return server;
}

void Server::ask(std::function<void(WorkerSnapshot)> answer) {
    state_->loop->post(
        [state = state_.get(), answer = std::move(answer)] { answer(state->snapshot()); });
}

} // namespace ringlet
