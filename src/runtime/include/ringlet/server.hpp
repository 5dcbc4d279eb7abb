#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/listen_address.hpp>
#include <ringlet/log.hpp>
#include <ringlet/statistics.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task_list.hpp>
#include <ringlet/tcp_stream.hpp>
#include <ringlet/unix_stream.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

namespace ringlet { // not exported: private classes
class RoomShare;
struct HandedOver;
struct WorkerSnapshot;
} // namespace ringlet

namespace RINGLET_EXPORT ringlet {

/// How a server serves.
struct ServeOptions {
    /// HOST:PORT, or `unix:/PATH`, or `unix:@NAME` (`Endpoint::parse`); several with commas between them. A name is
    /// looked up once, when the server is made, and listens on all of its addresses that this machine has. A handler that
    /// takes a `TcpStream` serves no Unix socket; one that takes a `StreamSocket` serves both. `fd:NAME` is a listening
    /// socket that a service manager has opened (systemd.socket(5), FileDescriptorName=), `fd:3` the one of that number,
    /// `fd:` all of them; several workers take their connections from its one queue.
    std::string listen = "127.0.0.1:3200";
    /// The same, looked up by `resolve_listen`; empty: `listen` is.
    std::vector<ListenAddress> addresses = {};

    /// A Unix socket (`unix:/PATH`, made with mode 0600) at which the next program asks for the listeners; empty: none.
    /// Whoever starts with a path at which a server of the same user answers takes its listeners over when it is ready
    /// to serve, with `metrics` and `backdoor` where they are the same, and then that one drains: no client is refused,
    /// and none in a queue is lost. If it does not come to serve, the old one goes on. docs/guides/operations.md has more.
    std::string hand_over = {};

    /// Called on the thread that watches the signals, for one of `hook_signals`: to reload a certificate, or to start
    /// the next program. Needs `handle_signals`. It must not block.
    std::function<void(int)> on_signal = {};
    std::vector<int> hook_signals = {};
    /// The one of `hook_signals`, as SIGHUP, that loads something anew: the service manager is told when that begins, and
    /// when it is done. 0: none.
    int reload_signal = 0;

    /// Connections served at once, by all workers together. At the limit accepting pauses: further
    /// clients wait in the listener's backlog and are served when others leave. 0: as many as the
    /// descriptor limit (RLIMIT_NOFILE) leaves after `reserved_descriptors`. With direct descriptors
    /// (`RingFeatures::direct_descriptors`) every worker has as many as that limit, and 0 means all.
    std::size_t max_connections = 0;

    /// Threads that serve, each with a loop and a listening socket of its own (`serve`, `Workers`; a
    /// `Server` is one worker). The kernel spreads the connections over them. 0: as many as there are
    /// CPUs that this process may run on. At most `max_connections`, and `Workers::size_limit`.
    std::size_t workers = 1;

    /// Keeps worker i on the i-th CPU that this process may run on, and with it the threads that it
    /// makes, such as those of `run_blocking`. More workers than CPUs begin again at the first.
    bool pin_workers = false;

    /// How long connections may go on after a stop before they are cancelled.
    std::chrono::milliseconds drain_timeout{10'000};

    /// How long a stop takes to end the connections at rest, whose receive has waited for `Server::rest_time`: it
    /// ends with `operation_canceled`. They end evenly over this time, so that their clients do not all connect elsewhere
    /// at once. 0: connections at rest stay until the drain time is over, or until their handlers ask `draining`.
    std::chrono::milliseconds drain_spread{0};

    /// A receive or a send on which nothing moved for so long ends with `timed_out`. 0: never. Exact to
    /// a quarter of itself; costs nothing per message.
    std::chrono::milliseconds idle_timeout{0};

    /// SIGTERM and SIGINT stop the server: the first drains, the second ends at once. They are
    /// blocked in the serving thread meanwhile; start other threads with them blocked too.
    bool handle_signals = true;

    /// A signal, such as SIGUSR1, on which `EventLoop::dump` is written to stderr; 0: none. Needs
    /// `handle_signals`.
    int dump_signal = 0;
    TaskList task_list = TaskList::summary; ///< what it looks like

    /// Gives `LoopOptions::report` a line for each connection whose handler returned an error. They are counted
    /// anyhow, and resets by clients are nothing unusual. What a handler throws is always reported.
    bool report_errors = false;

    /// Where the server says how it is, over HTTP/1.1, as `listen` names an address: `/metrics` for Prometheus,
    /// `/healthz` and `/readyz` (docs/guides/operations.md). Empty: nowhere. Whoever may connect may read; keep it
    /// on an address that only you reach. It is up during the drain, and costs nothing per message.
    std::string metrics = {};

    /// `unix:/PATH` of a socket, for its own user only, that answers an operator's commands: `tasks`, `stats`,
    /// `cancel N`, `log LEVEL` (docs/guides/operations.md). Where it cannot be made the server goes without, and reports
    /// that. Empty: there is none.
    std::string backdoor = {};

    /// Is told what an operator must know: that it listens, that accepting pauses and goes on, that it is at its limit of
    /// connections and no more, that it stops, and how that ended; with `LogLevel::debug` each connection. Takes
    /// the lines of `LoopOptions::report` too, as warnings, unless that is set. Null: there is no log.
    std::shared_ptr<Log> log = nullptr;

    /// Tells a service manager that has set NOTIFY_SOCKET when the server listens and when it stops, what it does, and,
    /// if it set WATCHDOG_USEC, that its loops still turn (sd_notify(3)).
    bool notify_service_manager = true;

    ListenOptions socket = {};
    LoopOptions loop = {};

    /// Descriptors kept back for the program itself when `max_connections` is 0.
    static constexpr std::size_t reserved_descriptors = 32;
    /// The same for every worker but the first.
    static constexpr std::size_t reserved_descriptors_per_worker = 4;
};

/// What a server did.
struct ServeReport {
    std::uint64_t accepted_count = 0;
    /// Connections whose handler returned an error, or threw.
    std::uint64_t failed_count = 0;
    /// Connections that came from the program before, and that went to the one after (`recv_or_hand_over`).
    std::uint64_t taken_over_count = 0;
    std::uint64_t handed_over_count = 0;
    /// Connections that the drain time did not suffice for; they were cancelled.
    std::size_t cancelled_count = 0;
    /// Times that accepting paused because descriptors or memory had run out.
    std::uint64_t accept_pauses = 0;
    LoopStats loop;
    /// What each of several workers did; the above is the sum then, with the first one's backend.
    std::vector<ServeReport> workers = {};
};

/// A listening socket and a loop that serves one coroutine per connection.
///
///     auto server = Server::create(options);
///     if (!server) return exit_status(server.error());
///     std::puts(server->local().to_string().c_str());
///     auto report = server->run(echo);
///
/// Lifetime  The handler is called on the server's own thread and outlives all connections.
/// Thread    `create` and `run` on one thread; `stop` from any.
class Server {
public:
    /// Binds, listens and sets up the ring. Clients may connect from now on. SIGTERM and SIGINT are
    /// blocked from before that until `run` has ended, or the server is destroyed
    /// (`ServeOptions::handle_signals`): one that comes in between stops `run` at once, or, if there
    /// is no run, does afterwards what it would have done before.
    ///
    /// Errors    As `Endpoint::resolve`, `StreamListener::bind` and `EventLoop::create`.
    static Result<Server> create(ServeOptions options);

    Server(Server&& other) noexcept;
    Server& operator=(Server&& other) noexcept;
    ~Server();

    /// Serves until it is stopped: every connection runs `handler(stream)`, with a `TcpStream`, a `UnixStream` or a
    /// `StreamSocket`, which returns a `Task<>`, or a `Task<Result<void>>` that says how the connection ended. Once
    /// per server: afterwards it listens no more.
    ///
    /// A handler's error or exception ends its connection and is counted; see `ServeOptions::report_errors`. The
    /// server goes on. When descriptors run out, accepting pauses for up to `accept_pause_limit`.
    ///
    /// Errors    The one that ended accepting for good; connections were drained first.
    ///           `address_family_not_supported` if the handler does not take what this address gives.
    template <class Handler>
    Result<ServeReport> run(Handler handler);

    /// Stops as the first SIGTERM does. A second call, or a signal after it, ends the drain.
    ///
    /// Thread    Any.
    void stop();

    /// The loop that it serves on, for tasks beside the connections: spawn them before `run`, which
    /// cancels them when the last connection has ended.
    [[nodiscard]] EventLoop& loop() noexcept;

    /// The address that it listens on, with the port that the kernel chose; the first of several.
    [[nodiscard]] Endpoint local() const;
    [[nodiscard]] const std::vector<Endpoint>& locals() const noexcept;
    /// The limit as it applies: `ServeOptions::max_connections`, or what was chosen for 0.
    [[nodiscard]] std::size_t max_connections() const noexcept;
    /// What it runs on, and why.
    [[nodiscard]] const BackendChoice& backend() const noexcept;
    /// Where `ServeOptions::metrics` are, with the port that the kernel chose; nothing if they are nowhere.
    [[nodiscard]] std::optional<Endpoint> metrics_address() const;

    static constexpr std::chrono::milliseconds accept_pause_first{10};
    static constexpr std::chrono::milliseconds accept_pause_limit{320};
    /// Connections that a worker takes from a queue in one turn of its loop, and then serves those it has.
    static constexpr std::size_t accepts_per_turn = 32;
    /// What a receive has waited for in a connection at rest: see `ServeOptions::drain_spread`.
    static constexpr std::chrono::milliseconds rest_time{100};
    /// How long a stop leaves those alone whose handshakes are under way, if somebody came within `busy_time`.
    static constexpr std::chrono::milliseconds settle_time{50};
    static constexpr std::chrono::milliseconds busy_time{1000};

private:
    friend class Workers;
    class State;
    // How a handler is called: one of both is not null.
    struct Call {
        Task<> (*silent)(void* handler, StreamSocket stream) = nullptr;
        Task<Result<void>> (*telling)(void* handler, StreamSocket stream) = nullptr;

        [[nodiscard]] explicit operator bool() const noexcept {
            return silent != nullptr || telling != nullptr;
        }
    };
    // The same for each kind of address; none if it does not take what that gives.
    struct Calls {
        Call tcp;
        Call local;
    };
    explicit Server(std::unique_ptr<State> state) noexcept;
    template <class Handler, class Stream>
    static Call call_with() noexcept;
    template <class Handler>
    static Calls calls_of() noexcept;
    Result<ServeReport> run_erased(void* handler, const Calls& calls);

    // What workers need of one of them. This one handles no signals.
    static Result<Server> create(ServeOptions options, std::vector<StreamListener> listeners,
                                 RoomShare share);
    bool take(UniqueFd connection, bool is_unix,
              std::shared_ptr<const HandedOver> along); // of another worker, soon; on any thread
    static std::size_t connections_that_fit(std::size_t workers);
    void stop_up_to(int times);                           // for a stop that it may know already
    void dump(std::string_view title);                    // soon, to stderr
    void ask(std::function<void(WorkerSnapshot)> answer); // soon, on its own thread
    void on_accept_failure(std::function<void()> call);   // before it drains

    std::unique_ptr<State> state_;
};

template <class Handler, class Stream>
Server::Call Server::call_with() noexcept {
    if constexpr (std::is_invocable_v<Handler&, Stream>) {
        using Returned = std::invoke_result_t<Handler&, Stream>;
        constexpr bool is_silent = std::is_same_v<Returned, Task<>>;
        static_assert(is_silent || std::is_same_v<Returned, Task<Result<void>>>,
                      "a handler returns Task<>, or Task<Result<void>>");
        constexpr auto call = [](void* handler, StreamSocket stream) {
            return (*static_cast<Handler*>(handler))(Stream(std::move(stream)));
        };
        if constexpr (is_silent) {
            return {.silent = call};
        } else {
            return {.telling = call};
        }
    } else {
        return {};
    }
}

template <class Handler>
Server::Calls Server::calls_of() noexcept {
    static_assert(std::is_invocable_v<Handler&, TcpStream> ||
                      std::is_invocable_v<Handler&, UnixStream>,
                  "a handler is a coroutine: Task<> handle(TcpStream stream), or one that takes a "
                  "UnixStream, or a StreamSocket, which may be either");
    return {.tcp = call_with<Handler, TcpStream>(), .local = call_with<Handler, UnixStream>()};
}

template <class Handler>
Result<ServeReport> Server::run(Handler handler) {
    return run_erased(static_cast<void*>(std::addressof(handler)), calls_of<Handler>());
}

} // namespace ringlet
