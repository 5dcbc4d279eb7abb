#include <ringlet/server.hpp>

#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/task_group.hpp>

#include "serve/stop_signals.hpp"

#include <algorithm>
#include <cstdio>
#include <new>
#include <optional>
#include <source_location>

#include <sys/resource.h>

namespace ringlet {

class Server::State final : public FailureObserver {
public:
    State(ServeOptions chosen, StreamListener listening);

    Task<Result<void>> serve();
    void stop() { stop_up_to(stops_ + 1); }
    void stop_up_to(int times);
    void dump(std::string_view title) const;
    void task_failed(const TaskFailure& failure) noexcept override;

    ServeOptions options;
    Result<EventLoop> loop;
    StreamListener listener;
    Endpoint address;
    ServeReport report;
    void* handler = nullptr;
    Call call;
    std::function<void()> on_accept_failure;
    std::optional<SignalStream> signals; // until run has ended

private:
    Task<Result<void>> serve_connections(TaskGroup& server, BoundedTaskGroup& connections);
    Task<> accept_connections(BoundedTaskGroup& connections);
    Task<> drain(BoundedTaskGroup& connections);
    Task<> watch_signals();
    Task<> end_idle_connections();
    void take(BoundedTaskGroup& connections, StreamSocket stream);

    std::error_code accept_error_;
    JoinHandle<void> phase_;                        // accepting, then draining: what a stop ends
    const BoundedTaskGroup* connections_ = nullptr; // as long as there is a phase
    int stops_ = 0;
};

// ---- accepting ----------------------------------------------------------------------------------

namespace {

// Accept fails at once, again and again, until something has been given back.
bool is_exhaustion(std::error_code error) {
    return error == std::errc::too_many_files_open ||
           error == std::errc::too_many_files_open_in_system ||
           error == std::errc::no_buffer_space || error == std::errc::not_enough_memory;
}

// The listening socket itself is at fault, and the next try would fail as well.
bool is_fatal(std::error_code error) {
    return error == std::errc::bad_file_descriptor || error == std::errc::not_a_socket ||
           error == std::errc::invalid_argument || error == std::errc::operation_not_supported;
}

} // namespace

Task<> Server::State::accept_connections(BoundedTaskGroup& connections) {
    auto pause = accept_pause_first;
    for (;;) {
        // Clients beyond the limit wait in the backlog.
        auto room = co_await connections.wait_for_room();
        if (!room) co_return;
        auto stream = co_await listener.accept();
        if (stream) {
            pause = accept_pause_first;
            take(connections, std::move(*stream));
            continue;
        }
        const std::error_code error = stream.error();
        if (error == std::errc::operation_canceled) co_return;
        if (is_fatal(error)) {
            accept_error_ = error;
            stops_ = std::max(stops_, 1);
            if (on_accept_failure) on_accept_failure();
            co_return;
        }
        if (!is_exhaustion(error)) continue; // that client has gone; the next one has not
        if (report.accept_pauses++ == 0) {
            loop->report("accepting pauses: " + error.message() +
                         " (raise 'ulimit -n', or lower max_connections)");
        }
        auto slept = co_await sleep_for(pause);
        if (!slept) co_return;
        pause = std::min(2 * pause, accept_pause_limit);
    }
}

void Server::State::take(BoundedTaskGroup& connections, StreamSocket stream) {
    if (options.idle_timeout.count() > 0) stream.limit_idle_time();
    try {
        // Named after the handler, and the place where that is written.
        const auto spawn = [&](auto handle) {
            const std::source_location where_it_is_written;
            if (connections.try_spawn_at(where_it_is_written, handle, std::move(stream)))
                ++report.accepted_count;
        };
        if (call.silent != nullptr) {
            spawn([this](StreamSocket taken) { return call.silent(handler, std::move(taken)); });
        } else {
            spawn([this](StreamSocket taken) { return call.telling(handler, std::move(taken)); });
        }
    } catch (const std::exception& error) {
        loop->report("a connection could not be started and is closed: " +
                     std::string(error.what()));
    }
}

void Server::State::task_failed(const TaskFailure& failure) noexcept {
    ++report.failed_count;
    if (failure.exception == nullptr && !options.report_errors) return;
    try {
        loop->report(failure.to_string());
    } catch (const std::bad_alloc&) { // it is counted
    }
}

// ---- stopping -----------------------------------------------------------------------------------

// The first stop ends the accepting, the second the drain.
void Server::State::stop_up_to(int times) {
    if (times <= stops_) return;
    stops_ = times;
    if (phase_) phase_.cancel(CancelReason::shutdown);
}

// In one piece: others may write at the same time.
void Server::State::dump(std::string_view title) const {
    std::string text;
    if (!title.empty()) {
        text = std::string(title) + ": " + std::to_string(report.accepted_count) +
               " connections accepted, " +
               std::to_string(connections_ != nullptr ? connections_->size() : 0) + " live\n";
    }
    text += loop->dump();
    const FramePool::Use use = FramePool::local().in_use();
    text += std::to_string(loop->stats().live_tasks) + " live tasks; " + std::to_string(use.bytes) +
            " bytes in " + std::to_string(use.block_count) + " frames, records and sockets\n";
    std::fputs(text.c_str(), stderr);
}

Task<> Server::State::watch_signals() {
    for (;;) {
        auto seen = co_await signals->next();
        if (!seen) co_return;
        if (*seen == options.dump_signal) {
            dump("");
        } else {
            stop();
        }
    }
}

Task<> Server::State::end_idle_connections() {
    for (;;) {
        auto slept = co_await sleep_for(saturated(options.idle_timeout) / 4);
        if (!slept) co_return;
        loop->cancel_idle(saturated(options.idle_timeout));
    }
}

Task<> Server::State::drain(BoundedTaskGroup& connections) {
    auto wait = [&connections]() -> Task<Result<void>> {
        auto idle = co_await connections.wait_until_idle();
        co_return idle;
    };
    auto drained = co_await with_timeout(options.drain_timeout, wait);
    static_cast<void>(drained); // what is left is cancelled
}

Task<Result<void>> Server::State::serve_connections(TaskGroup& server,
                                                    BoundedTaskGroup& connections) {
    struct NoPhase { // however this ends: the handle is of a task in the server's group
        State& state;
        ~NoPhase() {
            state.phase_ = JoinHandle<void>();
            state.connections_ = nullptr;
        }
    } at_end{*this};
    connections_ = &connections;
    phase_ = server.spawn("accept", [&] { return accept_connections(connections); });
    if (stops_ > 0) phase_.cancel(CancelReason::shutdown);
    auto accepted = co_await phase_.join();
    static_cast<void>(accepted); // cut short by a stop, as it should be

    // New clients are refused from here on, not left waiting in the backlog.
    auto closed = co_await listener.close();
    phase_ = server.spawn("drain", [&] { return drain(connections); });
    if (stops_ > 1) phase_.cancel(CancelReason::shutdown);
    auto drained = co_await phase_.join();
    static_cast<void>(drained);
    auto left = co_await cancelled(); // the loop, not this server

    report.cancelled_count = connections.size();
    connections.cancel(CancelReason::shutdown);
    // A handler may ignore that for ever. Leaving the loop ends it where it stands.
    if (connections.size() > 0) loop->stop();
    if (accept_error_) co_return accept_error_;
    if (left) co_return std::errc::operation_canceled;
    co_return closed;
}

Task<Result<void>> Server::State::serve() {
    auto body = [this](TaskGroup& server) -> Task<Result<void>> {
        if (signals) server.spawn("signals", [this] { return watch_signals(); });
        if (options.idle_timeout.count() > 0) {
            server.spawn("idle timeout", [this] { return end_idle_connections(); });
        }
        auto connections = [&](BoundedTaskGroup& group) {
            return serve_connections(server, group);
        };
        auto served = co_await with_bounded_task_group(
            options.max_connections, connections,
            GroupOptions{.name = "connections", .on_failure = OnFailure::report, .observer = this});
        server.cancel(CancelReason::shutdown);
        co_return served;
    };
    auto served = co_await with_task_group(body, GroupOptions{.name = "server"});
    co_return served;
}

// ---- the server ---------------------------------------------------------------------------------

Server::State::State(ServeOptions chosen, StreamListener listening)
    : options(std::move(chosen)), loop(EventLoop::create(options.loop)),
      listener(std::move(listening)), address(listener.local()) {
    if (!loop) return;
    const std::size_t direct = loop->direct_descriptor_limit();
    std::size_t& limit = options.max_connections;
    if (limit == 0 && direct == 0) {
        limit = std::max<std::size_t>(connections_that_fit(options.workers) / options.workers, 1);
    } else if (direct > 0) {
        limit = limit == 0 ? direct : std::min(limit, direct);
    }
}

Result<Server> Server::create(ServeOptions options) {
    auto endpoint = Endpoint::resolve(options.listen);
    if (!endpoint) return endpoint.error();
    options.workers = 1;
    return create(std::move(options), *endpoint);
}

Result<Server> Server::create(ServeOptions options, const Endpoint& endpoint) {
    std::optional<SignalStream> signals;
    if (options.handle_signals) {
        auto watch = watch_stop_signals(options);
        if (!watch) return watch.error();
        signals.emplace(std::move(*watch));
    }
    // Not before the signals: a client that could connect is not lost to one.
    auto listener = StreamListener::bind(endpoint, options.socket);
    if (!listener) return listener.error();
    auto server = create(std::move(options), std::move(*listener));
    if (server) server->state_->signals = std::move(signals);
    return server;
}

Result<Server> Server::create(ServeOptions options, StreamListener listener) {
    auto state = std::make_unique<State>(std::move(options), std::move(listener));
    if (!state->loop) return state->loop.error();
    return Server(std::move(state));
}

Server::Server(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;
Server::~Server() = default;

Result<ServeReport> Server::run_erased(void* handler, const Calls& calls) {
    state_->handler = handler;
    state_->call = local().is_unix() ? calls.local : calls.tcp;
    if (!state_->call) {
        state_->loop->report("the handler does not take the connections of " + local().to_string() +
                             ": let it take a StreamSocket");
        return std::errc::address_family_not_supported;
    }
    auto served = state_->loop->run([state = state_.get()] { return state->serve(); });
    state_->signals.reset();
    state_->report.loop = state_->loop->stats();
    const bool was_left = served.error() == std::errc::operation_canceled;
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
    rlimit descriptors{};
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return 1;
    const auto limit = static_cast<std::size_t>(descriptors.rlim_cur);
    const std::size_t reserved = ServeOptions::reserved_descriptors +
                                 (workers - 1) * ServeOptions::reserved_descriptors_per_worker;
    return limit > reserved ? limit - reserved : 1;
}

EventLoop& Server::loop() noexcept { return *state_->loop; }

const BackendChoice& Server::backend() const noexcept { return state_->loop->backend(); }

Endpoint Server::local() const { return state_->address; }

std::size_t Server::max_connections() const noexcept { return state_->options.max_connections; }

} // namespace ringlet
