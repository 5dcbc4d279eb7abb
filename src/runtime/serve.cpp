#include <ringlet/serve.hpp>

#include <ringlet/error.hpp>
#include <ringlet/sleep.hpp>

#include "notification.hpp"
#include "signals.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include <sys/resource.h>
#include <sysexits.h>

namespace ringlet {

// One connection: the handler's coroutine is the task itself, so that serving adds no frame to it.
class Server::Connection final : public TaskRecord {
public:
    Connection(State& server, Task<> task) : server_(server), task_(std::move(task)) {
        task_.frame().promise().become_root_of(this);
        waiter = task_.frame();
    }
    ~Connection() override;

    [[nodiscard]] bool is_done() const noexcept override { return !task_ || task_.frame().done(); }
    void destroy_frame() noexcept override { task_ = Task<>(); }
    void finished(EventLoop& owner) override {
        try {
            task_.frame().promise().take();
        } catch (const std::exception& error) {
            owner.report("a connection handler threw: " + std::string(error.what()) +
                         "; its connection is closed");
        } catch (...) {
            owner.report("a connection handler threw something that is not a std::exception; its "
                         "connection is closed");
        }
    }

private:
    State& server_;
    Task<> task_;
};

class Server::State {
public:
    State(ServeOptions chosen, TcpListener listening);

    Task<Result<void>> serve();
    void stop();
    void connection_ended() noexcept;

    ServeOptions options;
    TcpListener listener;
    Endpoint address;
    Result<EventLoop> loop;
    ServeReport report;
    void* handler = nullptr;
    Call call = nullptr;
    std::optional<SignalWatch> signals; // until run has ended

private:
    Task<Result<void>> accept_connections();
    Task<> watch_signals();
    Task<> end_drain_in_time();
    Task<> end_idle_connections();
    void take(TcpStream stream);

    std::size_t connection_count_ = 0;
    int stops_ = 0;
    Notification slot_free_;
    Notification drained_;
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

Task<Result<void>> Server::State::accept_connections() {
    auto pause = accept_pause_first;
    while (stops_ == 0) {
        if (connection_count_ >= options.max_connections) {
            co_await slot_free_.wait();
            continue;
        }
        auto stream = co_await listener.accept();
        if (stream) {
            pause = accept_pause_first;
            take(std::move(*stream));
            continue;
        }
        const std::error_code error = stream.error();
        if (error == std::errc::operation_canceled) break;
        if (is_fatal(error)) co_return error;
        if (!is_exhaustion(error)) continue; // that client has gone; the next one has not
        if (report.accept_pauses++ == 0) {
            loop->report("accepting pauses: " + error.message() +
                         " (raise 'ulimit -n', or lower max_connections)");
        }
        auto slept = co_await sleep_for(pause);
        if (!slept) break;
        pause = std::min(2 * pause, accept_pause_limit);
    }
    co_return Result<void>();
}

void Server::State::take(TcpStream stream) {
    if (options.idle_timeout.count() > 0) stream.limit_idle_time();
    try {
        auto task = call(handler, std::move(stream));
        auto connection = std::make_unique<Connection>(*this, std::move(task));
        ++report.accepted_count;
        ++connection_count_;
        loop->adopt(std::move(connection));
    } catch (const std::exception& error) {
        loop->report("a connection could not be started and is closed: " +
                     std::string(error.what()));
    }
}

Server::Connection::~Connection() { server_.connection_ended(); }

void Server::State::connection_ended() noexcept {
    --connection_count_;
    slot_free_.notify(*loop);
    if (connection_count_ == 0) drained_.notify(*loop);
}

// ---- stopping -----------------------------------------------------------------------------------

void Server::State::stop() {
    ++stops_;
    if (listener) listener.cancel_accept();
    slot_free_.notify(*loop);
    if (stops_ > 1) drained_.notify(*loop);
}

Task<> Server::State::watch_signals() {
    for (;;) {
        auto seen = co_await signals->next();
        if (!seen) co_return;
        stop();
    }
}

Task<> Server::State::end_drain_in_time() {
    auto slept = co_await sleep_for(options.drain_timeout);
    if (!slept) co_return;
    stops_ = 2;
    drained_.notify(*loop);
}

Task<> Server::State::end_idle_connections() {
    for (;;) {
        auto slept = co_await sleep_for(Clock::duration(options.idle_timeout) / 4);
        if (!slept) co_return;
        loop->cancel_idle(options.idle_timeout);
    }
}

Task<Result<void>> Server::State::serve() {
    if (signals) loop->spawn([this] { return watch_signals(); });
    if (options.idle_timeout.count() > 0) loop->spawn([this] { return end_idle_connections(); });

    auto accepted = co_await accept_connections();

    // New clients are refused from here on, not left waiting in the backlog.
    auto closed = co_await listener.close();
    loop->spawn([this] { return end_drain_in_time(); });
    while (connection_count_ > 0 && stops_ < 2) {
        co_await drained_.wait();
    }
    report.cancelled_count = connection_count_;
    if (!closed) co_return closed.error();
    co_return accepted;
}

// ---- the server ---------------------------------------------------------------------------------

namespace {

std::size_t limit_that_fits() {
    rlimit descriptors{};
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return 1;
    const auto limit = static_cast<std::size_t>(descriptors.rlim_cur);
    constexpr auto reserved = ServeOptions::reserved_descriptors;
    return limit > reserved ? limit - reserved : 1;
}

} // namespace

Server::State::State(ServeOptions chosen, TcpListener listening)
    : options(std::move(chosen)), listener(std::move(listening)), address(listener.local()),
      loop(EventLoop::create(options.loop)) {
    if (options.max_connections == 0) options.max_connections = limit_that_fits();
}

Result<Server> Server::create(ServeOptions options) {
    auto endpoint = Endpoint::resolve(options.listen);
    if (!endpoint) return endpoint.error();
    auto listener = TcpListener::bind(*endpoint, options.socket);
    if (!listener) return listener.error();
    auto state = std::make_unique<State>(std::move(options), std::move(*listener));
    if (!state->loop) return state->loop.error();
    if (state->options.handle_signals) {
        auto watch = SignalWatch::create();
        if (!watch) return watch.error();
        state->signals.emplace(std::move(*watch));
    }
    return Server(std::move(state));
}

Server::Server(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;
Server::~Server() = default;

Result<ServeReport> Server::run_erased(void* handler, Call call) {
    state_->handler = handler;
    state_->call = call;
    auto served = state_->loop->run([state = state_.get()] { return state->serve(); });
    state_->signals.reset();
    state_->report.loop = state_->loop->stats();
    if (!served) return served.error();
    return state_->report;
}

void Server::stop() {
    state_->loop->post([state = state_.get()] { state->stop(); });
}

Endpoint Server::local() const { return state_->address; }

std::size_t Server::max_connections() const noexcept { return state_->options.max_connections; }

// ---- the end of a program -----------------------------------------------------------------------

std::string advice(std::string_view listen, std::error_code error) {
    const std::string where(listen);
    if (error == std::errc::address_in_use) {
        return "cannot listen on " + where +
               ": the port is in use. Stop the other server, or choose another port";
    }
    if (error == std::errc::permission_denied) {
        return "cannot listen on " + where +
               ": ports below 1024 need a privilege (CAP_NET_BIND_SERVICE). Choose another port";
    }
    if (error == std::errc::address_not_available) {
        return "cannot listen on " + where + ": no interface of this machine has that address";
    }
    if (error == std::errc::too_many_files_open) {
        return "too few descriptors to start with: raise the limit with 'ulimit -n'";
    }
    if (error == Errc::invalid_endpoint || error == Errc::unknown_host) {
        return where + ": " + error.message();
    }
    return error.message();
}

void report_advice(const LoopOptions& options, std::string_view listen, std::error_code error) {
    const std::string line = advice(listen, error);
    if (options.report) {
        options.report(line);
    } else {
        std::fprintf(stderr, "ringlet: %s\n", line.c_str());
    }
}

int exit_status(std::error_code error) noexcept {
    if (!error) return EX_OK;
    if (error == Errc::invalid_endpoint) return EX_USAGE;
    if (error == Errc::unknown_host) return EX_NOHOST;
    if (error == std::errc::permission_denied) return EX_NOPERM;
    if (error.category() == error_category() || error == std::errc::address_in_use ||
        error == std::errc::address_not_available || error == std::errc::connection_refused) {
        return EX_UNAVAILABLE;
    }
    return EX_OSERR;
}

} // namespace ringlet
