// The state of several workers, for ServeOptions::metrics: on the thread that waits for them.

#include "serve/crew.hpp"

#include <utility>

namespace ringlet {

Result<void> Workers::Crew::start_metrics(TakeOver* taken) {
    if (options_.metrics.empty()) return {};
    auto listener = MetricsService::bind(options_, taken);
    if (!listener) return listener.error();
    survey_.emplace(*loop_, size_, [this](std::size_t index, WorkerSurvey::Answer answer) {
        return ask(index, std::move(answer));
    });
    services_.metrics.emplace(std::move(*listener), [this] { return describe(); });
    return {};
}

bool Workers::Crew::ask(std::size_t index, WorkerSurvey::Answer answer) {
    const std::lock_guard lock(mutex_);
    Server* server = workers_[index].server;
    if (server != nullptr && answer) server->ask(std::move(answer));
    return server != nullptr;
}

Task<ServerState> Workers::Crew::describe() {
    ServerState server;
    server.connection_limit = options_.max_connections;
    auto workers = co_await survey_->ask_all();
    server.workers = std::move(workers);
    co_return server;
}

void Workers::Crew::start_backdoor(TakeOver* taken) {
    auto listener = Backdoor::bind(options_, taken);
    if (!listener) return;
    auto ask = [this](std::size_t index, Backdoor::Question question, Backdoor::Answer answer) {
        const std::lock_guard lock(mutex_);
        Server* server = workers_[index].server;
        if (server == nullptr) return false;
        server->ask([server, question = std::move(question), answer = std::move(answer)](
                        const WorkerSnapshot& now) { answer(question(server->loop(), now)); });
        return true;
    };
    services_.backdoor.emplace(std::move(*listener), *loop_, size_, options_.log, ask);
}

std::optional<Endpoint> Workers::Crew::metrics_address() const {
    if (!services_.metrics) return std::nullopt;
    return services_.metrics->address();
}

} // namespace ringlet
