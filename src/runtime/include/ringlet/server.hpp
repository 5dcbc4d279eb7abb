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
    /// One address, or several with commas between them: HOST:PORT, `unix:/PATH` or `unix:@NAME` (`Endpoint::parse`).
    /// A name is looked up once, when the server is created; the server listens on every address of it that this
    /// machine has. A handler that takes a `TcpStream` cannot serve a Unix socket; one that takes a `StreamSocket`
    /// serves both. `fd:NAME` is a listening socket opened by a service manager (systemd.socket(5),
    /// FileDescriptorName=), `fd:3` is the one with that number, and `fd:` is all of them; several workers accept from
    /// its one queue.
    std::string listen = "127.0.0.1:3200";
    /// The same addresses, already looked up by `resolve_listen`. If empty, `listen` is used.
    std::vector<ListenAddress> addresses = {};

    /// A Unix socket (`unix:/PATH`, created with mode 0600) on which the next program asks for the listeners. Empty:
    /// none. If a server of the same user answers on that path at startup, this server takes over its listeners once
    /// it is ready to serve, and also `metrics` and `backdoor` if they are the same. The old server then drains: no
    /// client is refused and no queued connection is lost. If the new server never gets to serving, the old one
    /// carries on. See docs/guides/operations.md.
    std::string hand_over = {};

    /// Called on the signal-handling thread for each of `hook_signals`, for example to reload a certificate or to start
    /// the next program. Needs `handle_signals`. It must not block.
    std::function<void(int)> on_signal = {};
    std::vector<int> hook_signals = {};
    /// The one of `hook_signals` that means reload, such as SIGHUP. The service manager is notified when the reload
    /// begins and when it is done. 0: none.
    int reload_signal = 0;

    /// The limit on connections served at once by all workers together. At the limit accepting pauses: further
    /// clients wait in the listener's backlog and are served when others leave. 0: the descriptor limit
    /// (RLIMIT_NOFILE) minus `reserved_descriptors`, and `reserved_descriptors_per_worker` for each worker after the
    /// first. With direct descriptors (`RingFeatures::direct_descriptors`) every worker has a table of the limit's size,
    /// and 0 means all of it.
    std::size_t max_connections = 0;

    /// The number of serving threads, each with its own loop and listening socket (`serve`, `Workers`; a
    /// `Server` is one worker). The kernel chooses the worker of a connection, and a worker
    /// that has clearly more connections than another gives it away before the handler starts. 0: one per CPU that
    /// this process may run on. At most `max_connections`, and `Workers::size_limit`.
    std::size_t workers = 1;

    /// Pins worker i to the i-th CPU that this process may run on, together with the threads that it
    /// creates, such as those of `run_blocking`. With more workers than CPUs, it wraps around.
    bool pin_workers = false;

    /// How long connections may continue after a stop before they are cancelled.
    std::chrono::milliseconds drain_timeout{10'000};

    /// Over how long a stop ends the idle connections, those whose receive has waited for at least `Server::rest_time`.
    /// The receive ends with `operation_canceled`. They are ended evenly over this time, so that their clients do not
    /// all reconnect elsewhere at once. 0: idle connections stay until the drain time is over, or until their handlers
    /// check `draining`.
    std::chrono::milliseconds drain_spread{0};

    /// A receive or a send that makes no progress for this long ends with `timed_out`. 0: never. Accurate to
    /// a quarter of the timeout; costs nothing per message.
    std::chrono::milliseconds idle_timeout{0};

    /// SIGTERM and SIGINT stop the server: the first drains, the second ends at once. They are blocked in
    /// the serving thread until then; start other threads with them blocked too.
    bool handle_signals = true;

    /// A signal, such as SIGUSR1, on which `EventLoop::dump` is written to stderr; 0: none. Needs
    /// `handle_signals`.
    int dump_signal = 0;
    TaskList task_list = TaskList::summary; ///< how that lists the tasks

    /// Passes a line to `LoopOptions::report` for each connection whose handler returned an error. Errors are counted
    /// either way, and resets by clients are routine. Exceptions from a handler are always reported.
    bool report_errors = false;

    /// The address for metrics and health over HTTP/1.1, in the form that `listen` takes: `/metrics` for Prometheus,
    /// `/healthz` and `/readyz` (docs/guides/operations.md). Empty: none. Anyone who can connect can read, so keep it
    /// on an address that only you can reach. It stays up during the drain, and costs nothing per message.
    std::string metrics = {};

    /// `unix:/PATH` of a socket, accessible only to its own user, that takes operator commands: `tasks`, `stats`,
    /// `cancel N`, `log LEVEL` (docs/guides/operations.md). If it cannot be created, the server runs without it and
    /// reports that. Empty: none.
    std::string backdoor = {};

    /// Logs what an operator must know: that the server listens, that accepting pauses and resumes, that the connection
    /// limit is reached and left, that the server stops, and how that ended. With `LogLevel::debug` it also logs each
    /// connection. It gets the lines of `LoopOptions::report` too, as warnings, unless that is set. Null: no log.
    std::shared_ptr<Log> log = nullptr;

    /// If NOTIFY_SOCKET is set, tells the service manager when the server listens, when it stops and what it is doing;
    /// if WATCHDOG_USEC is set, also that its loops still turn (sd_notify(3)).
    bool notify_service_manager = true;

    ListenOptions socket = {};
    LoopOptions loop = {};

    /// Descriptors reserved for the program itself when `max_connections` is 0.
    static constexpr std::size_t reserved_descriptors = 32;
    /// The same for each worker after the first.
    static constexpr std::size_t reserved_descriptors_per_worker = 4;
};

/// What a server did.
struct ServeReport {
    std::uint64_t accepted_count = 0;
    /// Connections whose handler returned an error, or threw.
    std::uint64_t failed_count = 0;
    /// Connections received from the previous program, and those handed to the next one (`recv_or_hand_over`).
    std::uint64_t taken_over_count = 0;
    std::uint64_t handed_over_count = 0;
    /// Connections still open when the drain time was over; they were cancelled.
    std::size_t cancelled_count = 0;
    /// How often accepting paused because descriptors or memory had run out.
    std::uint64_t accept_pauses = 0;
    LoopStats loop;
    /// With several workers, the report of each; the fields above are then sums, and the backend is the first worker's.
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
    /// Binds, listens and sets up the ring. Clients can connect from now on. SIGTERM and SIGINT are blocked
    /// before that and stay blocked until `run` has ended or the server is destroyed
    /// (`ServeOptions::handle_signals`). A signal that arrives in between stops `run` at once. If `run` is
    /// never called, the signal takes its original effect once it is unblocked.
    ///
    /// Errors    As `Endpoint::resolve`, `StreamListener::bind` and `EventLoop::create`.
    static Result<Server> create(ServeOptions options);

    Server(Server&& other) noexcept;
    Server& operator=(Server&& other) noexcept;
    ~Server();

    /// Serves until it is stopped. Every connection runs `handler(stream)` with a `TcpStream`, a `UnixStream` or a
    /// `StreamSocket`. The handler returns a `Task<>`, or a `Task<Result<void>>` that says how the connection ended.
    /// Call it once per server: afterwards the server no longer listens.
    ///
    /// A handler's error or exception ends its connection and is counted; see `ServeOptions::report_errors`. The
    /// server continues. When descriptors run out, accepting pauses for up to `accept_pause_limit`.
    ///
    /// Errors    The error that ended accepting for good; connections were drained first.
    ///           `address_family_not_supported` if the handler does not take this address's kind of stream.
    template <class Handler>
    Result<ServeReport> run(Handler handler);

    /// Stops as the first SIGTERM does. A second call, or a later signal, ends the drain.
    ///
    /// Thread    Any.
    void stop();

    /// The loop that it serves on, for tasks other than connections. Spawn them before `run`, which
    /// cancels them when the last connection has ended.
    [[nodiscard]] EventLoop& loop() noexcept;

    /// The address that it listens on, with the port that the kernel chose; the first of several.
    [[nodiscard]] Endpoint local() const;
    [[nodiscard]] const std::vector<Endpoint>& locals() const noexcept;
    /// The effective limit: `ServeOptions::max_connections`, or what was chosen for 0.
    [[nodiscard]] std::size_t max_connections() const noexcept;
    /// What it runs on, and why.
    [[nodiscard]] const BackendChoice& backend() const noexcept;
    /// The address of `ServeOptions::metrics`, with the port that the kernel chose; empty if there is none.
    [[nodiscard]] std::optional<Endpoint> metrics_address() const;

    static constexpr std::chrono::milliseconds accept_pause_first{10};
    static constexpr std::chrono::milliseconds accept_pause_limit{320};
    /// How many connections a worker accepts from a queue in one turn of its loop before it serves those it has.
    static constexpr std::size_t accepts_per_turn = 32;
    /// How long a receive must have waited for its connection to count as idle: see `ServeOptions::drain_spread`.
    static constexpr std::chrono::milliseconds rest_time{100};
    /// How long a stop leaves handshakes in progress alone, if a client connected within `busy_time`.
    static constexpr std::chrono::milliseconds settle_time{50};
    static constexpr std::chrono::milliseconds busy_time{1000};

private:
    friend class Workers;
    class State;
    // How to call a handler: one of the two is not null.
    struct Call {
        Task<> (*silent)(void* handler, StreamSocket stream) = nullptr;
        Task<Result<void>> (*telling)(void* handler, StreamSocket stream) = nullptr;

        [[nodiscard]] explicit operator bool() const noexcept {
            return silent != nullptr || telling != nullptr;
        }
    };
    // The same for each kind of address; empty if the handler does not take its stream.
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

    // For `Workers`, which makes one `Server` per thread. This one handles no signals.
    static Result<Server> create(ServeOptions options, std::vector<StreamListener> listeners,
                                 RoomShare share);
    bool take(UniqueFd connection, bool is_unix,
              std::shared_ptr<const HandedOver> along); // from another worker, soon; on any thread
    static std::size_t connections_that_fit(std::size_t workers);
    void stop_up_to(int times);                           // for a stop it may already know about
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
