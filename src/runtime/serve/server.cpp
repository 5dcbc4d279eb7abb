#include <ringlet/serve.hpp>
#include <ringlet/server.hpp>

#include "serve/listeners.hpp"
#include "serve/server_state.hpp"
#include "serve/stop_signals.hpp"

#include <algorithm>

#include <sys/resource.h>

namespace ringlet {

namespace {

ServeOptions with_log(ServeOptions options) {
    report_to_log(options);
    return options;
}

} // namespace

Server::State::State(ServeOptions chosen, std::vector<StreamListener> listening, RoomShare share)
    : options(with_log(std::move(chosen))), loop(EventLoop::create(options.loop)),
      listeners(std::move(listening)), room(std::move(share)), log(options.log, room.worker()) {
    gate_.set();
    for (const StreamListener& listener : listeners)
        if (std::ranges::count(addresses, listener.local()) == 0)
            addresses.push_back(listener.local());
    if (!loop) return;
    const std::size_t direct = loop->direct_descriptor_limit();
    std::size_t& limit = options.max_connections;
    if (limit == 0 && direct == 0) {
        limit = std::max<std::size_t>(connections_that_fit(options.workers) / options.workers, 1);
    } else if (direct > 0) {
        limit = limit == 0 ? direct : std::min(limit, direct);
    }
    // Each listener accepts one more as long as there is a place: a connection that finds it taken waits for the next.
    if (!room.is_shared() && listeners.size() > 1)
        room = RoomShare(std::make_shared<Room>(limit, 1), 0, nullptr);
}

Result<Server> Server::create(ServeOptions options) {
    options.workers = 1;
    report_to_log(options);
    auto addresses = addresses_of(options); // which may take long
    if (!addresses) return addresses.error();
    std::optional<SignalStream> signals;
    if (options.handle_signals) {
        auto watch = watch_stop_signals(options);
        if (!watch) return watch.error();
        signals.emplace(std::move(*watch));
    }
    // After the signals are blocked: otherwise one could end the program when a client can already connect.
    auto start = start_hand_over(options);
    if (!start) return start.error();
    TakeOver* const taken = start->taken ? &*start->taken : nullptr;
    auto listeners = bind_all(*addresses, 1, options.socket, taken);
    if (!listeners) return listeners.error();
    std::optional<StreamListener> metrics;
    if (!options.metrics.empty()) {
        auto bound = MetricsService::bind(options, taken);
        if (!bound) return bound.error();
        metrics = std::move(*bound);
    }
    auto backdoor = Backdoor::bind(options, taken);
    auto server = create(std::move(options), std::move(listeners->front()), RoomShare());
    if (!server) return server;
    State& state = *server->state_;
    state.signals = std::move(signals);
    Services& services = state.services;
    if (metrics)
        services.metrics.emplace(std::move(*metrics), [&state] { return state.describe(); });
    if (backdoor) {
        auto ask = [&state](std::size_t, const Backdoor::Question& question,
                            const Backdoor::Answer& answer) {
            answer(question(*state.loop, state.snapshot()));
            return true;
        };
        services.backdoor.emplace(std::move(*backdoor), *state.loop, 1, state.options.log, ask);
    }
    if (start->successors)
        services.successors.emplace(std::move(*start->successors), hand_over_service);
    state.predecessor = std::move(start->taken);
    return server;
}

Result<Server> Server::create(ServeOptions options, std::vector<StreamListener> listeners,
                              RoomShare share) {
    if (!options.metrics.empty()) options.loop.measure_turns = true;
    auto state =
        std::make_unique<State>(std::move(options), std::move(listeners), std::move(share));
    if (!state->loop) return state->loop.error();
    return Server(std::move(state));
}

Server::Server(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;
Server::~Server() = default;

Result<ServeReport> Server::run_erased(void* handler, const Calls& calls) {
    state_->handler = handler;
    state_->calls = calls;
    for (const Endpoint& address : state_->addresses) {
        if (address.is_unix() ? calls.local : calls.tcp) continue;
        state_->loop->report("the handler does not take the connections of " + address.to_string() +
                             ": let it take a StreamSocket");
        return std::errc::address_family_not_supported;
    }
    if (state_->predecessor) {
        auto begun = state_->predecessor->begin();
        if (!begun) return hand_over_failed(state_->options, begun.error());
        state_->arrivals = state_->predecessor->take_channel();
        state_->predecessor_leaving = state_->predecessor->leaving();
        state_->services.wait_for(*state_->predecessor);
    }
    const bool is_whole = !state_->room.is_shared();
    if (is_whole)
        log_start(state_->log.get(), state_->addresses, state_->options, state_->loop->backend());
    auto served = state_->loop->run({}, [state = state_.get()] { return state->serve(); });
    state_->signals.reset();
    state_->report.loop = state_->loop->stats();
    const bool was_left = served.error() == std::errc::operation_canceled;
    if (is_whole) log_end(state_->log.get(), state_->report);
    if (!served && !was_left) return served.error();
    return state_->report;
}

void Server::stop() {
    state_->loop->post([state = state_.get()] { state->stop(); });
}

void Server::stop_up_to(int times) {
    state_->loop->post([state = state_.get(), times] { state->stop_up_to(times); });
}

void Server::dump(std::string_view title) {
    state_->loop->post([state = state_.get(), title = std::string(title)] { state->dump(title); });
}

void Server::on_accept_failure(std::function<void()> call) {
    state_->on_accept_failure = std::move(call);
}

std::size_t Server::connections_that_fit(std::size_t workers) {
    // A seccomp filter may refuse the question: this is Linux's default.
    rlimit descriptors{.rlim_cur = 1024, .rlim_max = 1024};
    ::getrlimit(RLIMIT_NOFILE, &descriptors);
    const auto limit = static_cast<std::size_t>(descriptors.rlim_cur);
    const std::size_t reserved = ServeOptions::reserved_descriptors +
                                 (workers - 1) * ServeOptions::reserved_descriptors_per_worker;
    return limit > reserved ? limit - reserved : 1;
}

EventLoop& Server::loop() noexcept { return *state_->loop; }

const BackendChoice& Server::backend() const noexcept { return state_->loop->backend(); }

Endpoint Server::local() const { return state_->addresses.front(); }

const std::vector<Endpoint>& Server::locals() const noexcept { return state_->addresses; }

std::optional<Endpoint> Server::metrics_address() const {
    const auto& metrics = state_->services.metrics;
    if (!metrics) return std::nullopt;
    return metrics->address();
}

bool Server::take(UniqueFd connection, bool is_unix, std::shared_ptr<const HandedOver> along) {
    state_->loop->post([state = state_.get(), is_unix, fd = std::move(connection),
                        along = std::move(along)]() mutable {
        state->take_from_another(StreamSocket(std::move(fd)), is_unix, std::move(along));
    });
    return true;
}

std::size_t Server::max_connections() const noexcept { return state_->options.max_connections; }

} // namespace ringlet
