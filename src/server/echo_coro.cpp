// echo_coro: gives every client back what it sends, one coroutine per connection.

#include <ringlet/ringlet.hpp>
#include <ringlet/tls.hpp>

#include "backend_option.hpp"
#include "busy_poll_option.hpp"
#include "command_line.hpp"
#include "descriptor_limit.hpp"
#include "duration_option.hpp"
#include "first_process.hpp"
#include "log_options.hpp"
#include "operator_signals.hpp"
#include "output.hpp"
#include "own_addresses.hpp"
#include "server_lines.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sysexits.h>
#include <unistd.h>

using namespace ringlet;

namespace {

template <ByteStream Stream>
Task<> echo(Stream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;

        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

// The same. While it has nothing to send back, its connection may go to the next program.
Task<> echo_or_hand_over(StreamSocket stream) {
    for (;;) {
        auto chunk = co_await recv_or_hand_over(stream);
        if (!chunk || chunk->empty()) co_return;

        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

struct Settings {
    std::string listen; // or else:
    std::string host = "127.0.0.1";
    std::uint16_t port = 3200;
    bool takes_given_sockets = false;
    Backend backend = Backend::automatic;
    std::size_t workers = 1;
    bool pin = false;
    std::size_t max_connections = 0;
    bool direct_descriptors = false;
    std::chrono::milliseconds drain_timeout{10'000};
    std::chrono::milliseconds idle_timeout{0};
    std::chrono::milliseconds drain_spread{2'000};
    std::chrono::milliseconds keep_alive{120'000};
    std::chrono::milliseconds user_timeout{0};
    std::chrono::milliseconds stall_limit{0};
    std::chrono::microseconds busy_poll{0};
    TlsCertificate certificate; // no file: no TLS
    std::string client_authorities;
    OwnAddresses own;
    LogOptions log;
    TaskList task_list = TaskList::summary;
    std::vector<std::string> proxies; // none: clients connect directly
    bool quiet = false;
};

void add_workers(CLI::App& app, std::size_t& value) {
    const auto read = [&value](const std::string& text) {
        if (text == "auto") {
            value = 0; // as in ServeOptions::workers
            return;
        }
        std::size_t count = 0;
        const char* end = text.data() + text.size();
        const auto [rest, failure] = std::from_chars(text.data(), end, count);
        if (failure != std::errc{} || rest != end || count < 1 || count > Workers::size_limit) {
            throw CLI::ValidationError(
                "--workers", fmt::format("'{}' is no number of workers: write auto, or 1 to {}",
                                         text, std::size_t{Workers::size_limit}));
        }
        value = count;
    };
    app.add_option_function<std::string>(
           "--workers", read,
           "Threads that serve, each with a loop and a listening socket of its own.\n"
           "auto: one for each CPU that this process may run on; default 1")
        ->type_name("N|auto");
}

// Throws CLI::ParseError: also for --help and --version.
void add_options(CLI::App& app, Settings& settings) {
    app.set_version_flag("--version", "echo_coro " RINGLET_VERSION);
    app.add_option("--port", settings.port, "Port to listen on; 0 takes a free one")
        ->check(CLI::Range(0, 65535))
        ->capture_default_str();
    app.add_option("--host", settings.host, "Address or name of the interface to listen on")
        ->capture_default_str();
    app.add_option(
           "--listen", settings.listen,
           "Where to listen: HOST:PORT, unix:/PATH, unix:@NAME (abstract), or fd:NAME for a "
           "socket\n"
           "that a service manager has opened (fd: for all of them). Commas separate several")
        ->type_name("ADDRESS")
        ->excludes(app.get_option("--port"))
        ->excludes(app.get_option("--host"));
    add_backend(app, settings.backend);
    add_workers(app, settings.workers);
    app.add_flag("--pin", settings.pin,
                 "Pin each worker to a CPU of its own, if there are enough CPUs");
    app.add_option(
           "--max-connections", settings.max_connections,
           "Connections served at once by all workers together; further clients wait until\n"
           "others leave. 0: as many as the descriptor limit allows")
        ->check(CLI::Range(std::size_t{0}, std::size_t{10'000'000}))
        ->capture_default_str();
    app.add_flag(
        "--direct-descriptors", settings.direct_descriptors,
        "Keep connections in tables of io_uring instead of as descriptors of the process.\n"
        "Each worker can then hold as many as the descriptor limit. On by itself if\n"
        "--max-connections exceeds that limit");
    add_duration(
        app, "--drain-timeout", settings.drain_timeout, std::chrono::milliseconds(0),
        "How long connections may continue after SIGTERM, as 500ms, 10s, 2min; default 10s");
    add_duration(app, "--idle-timeout", settings.idle_timeout, std::chrono::milliseconds(0),
                 "Close a connection that has been idle for this long; 0s, the default: never");
    add_duration(
        app, "--stall-limit", settings.stall_limit, std::chrono::milliseconds(0),
        "Report a connection that holds up the others for this long; 0s, the default: never");
    add_busy_poll(app, settings.busy_poll);
    add_duration(
        app, "--drain-spread", settings.drain_spread, std::chrono::milliseconds(0),
        "Close idle connections evenly over this time after SIGTERM; 0s: they stay for the\n"
        "drain timeout; default 2s");
    add_duration(app, "--keep-alive", settings.keep_alive, std::chrono::milliseconds(0),
                 "Probe a client that has been silent for this long, and drop it after twice that\n"
                 "time without an answer; 0s: never; default 2min");
    add_duration(
        app, "--user-timeout", settings.user_timeout, std::chrono::milliseconds(0),
        "Drop a client that does not acknowledge data for this long; 0s, the default: the\n"
        "kernel's limit, about 15 minutes");
    app.add_option(
           "--hand-over", settings.own.hand_over,
           "unix:/PATH where the next echo_coro asks for the listening sockets, so that no\n"
           "client is refused when a new version replaces the old one; idle connections move\n"
           "along, except through TLS. SIGUSR2 starts the next one")
        ->type_name("ADDRESS");
    app.add_option("--metrics", settings.own.metrics,
                   "Serve /metrics (Prometheus), /healthz and /readyz over HTTP on this address:\n"
                   "HOST:PORT, or unix:/PATH. Anyone who can connect can read")
        ->type_name("ADDRESS");
    app.add_option(
           "--backdoor", settings.own.backdoor,
           "unix:/PATH of a socket that answers commands of this user only: list what tasks\n"
           "wait for and what was served, cancel a task, change the log level")
        ->type_name("ADDRESS");
    add_log_options(app, settings.log);
    app.add_flag_callback(
        "--all-tasks", [&settings] { settings.task_list = TaskList::full; },
        "SIGUSR1 lists every task; without it, similar tasks share a line");
    CLI::Option* certificate =
        app.add_option("--tls-cert", settings.certificate.chain_file,
                       "Serve through TLS, with this certificate and its chain (PEM)");
    CLI::Option* key = app.add_option("--tls-key", settings.certificate.key_file,
                                      "The private key of that certificate (PEM)");
    key->type_name("FILE")->needs(certificate);
    certificate->type_name("FILE")->needs(key);
    app.add_option("--tls-client-ca", settings.client_authorities,
                   "Refuse clients without a certificate signed by one of these authorities (PEM)")
        ->type_name("FILE")
        ->needs(certificate);
    app.add_option(
           "--proxy-from", settings.proxies,
           "Serve only connections from proxies at these addresses, as 10.0.0.0/8,unix: and\n"
           "require a PROXY header (version 1 or 2) on each")
        ->type_name("RANGES")
        ->delimiter(',');
    app.add_flag("--quiet", settings.quiet, "Print errors only");
    app.footer(
        R"(The first line on stdout names the address; the last ones sum up what was served, with a
line for each worker if there are several.

Signals:
  SIGTERM, SIGINT, SIGQUIT  stop accepting, let connections finish within the drain timeout,
                            cancel the rest, exit with 0; a second signal ends at once
  SIGUSR1                   list on stderr what every task waits for
  SIGUSR2                   start this program again; the new one takes over (--hand-over)
  SIGHUP                    read the certificate again

An error is one line on stderr and an exit status of sysexits(3): 64 bad option, 66 a
certificate or key cannot be used, 68 unknown host, 69 port in use or --backend io_uring
refused, 71 another system error, 74 stdout cannot be written, 77 no permission.

Try it:  echo_coro --port 3200 &  echo hello | socat - TCP:127.0.0.1:3200)");
}

// All sockets of a service manager are used if no address was given.
std::string listen_address(const Settings& settings) {
    if (!settings.listen.empty()) return settings.listen;
    if (settings.takes_given_sockets) return "fd:";
    const bool bare_v6 = settings.host.find(':') != std::string::npos && settings.host[0] != '[';
    return fmt::format(fmt::runtime(bare_v6 ? "[{}]:{}" : "{}:{}"), settings.host, settings.port);
}

// The server reads them from here on. A signal after the server has ended, while we print the report,
// has nothing left to stop and must not change our exit status.
void block_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    for (const int other : {SIGUSR1, SIGUSR2, SIGHUP, SIGQUIT}) sigaddset(&signals, other);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

// Nothing without a certificate.
Result<std::optional<TlsContext>> make_tls(const Settings& settings, Log& log) {
    if (settings.certificate.chain_file.empty()) return std::optional<TlsContext>();
    std::string cause;
    TlsServerOptions options;
    options.certificates = {settings.certificate};
    options.client_authorities = settings.client_authorities;
    if (!settings.client_authorities.empty())
        options.client_certificates = ClientCertificates::required;
    options.causes = &cause;
    if (!settings.quiet)
        options.report = [&log](std::string_view line) { log.write(LogLevel::warning, line); };
    auto context = TlsContext::server(std::move(options));
    if (!cause.empty()) log.write(LogLevel::error, cause);
    if (!context) return context.error();
    return std::optional(std::move(*context));
}

template <class Handler>
Result<ServeReport> run_behind_proxies(Workers& workers, const Settings& settings, Log& log,
                                       Handler handler) {
    if (settings.proxies.empty()) return workers.run(std::move(handler));
    ProxyOptions options;
    for (const std::string& range : settings.proxies)
        options.trusted.push_back(*AddressRange::parse(range));
    if (!settings.quiet)
        options.report = [&log](std::string_view line) { log.write(LogLevel::warning, line); };
    return workers.run(with_proxy_protocol(std::move(options), std::move(handler)));
}

int run(const Settings& settings, char** argv) {
    for (const std::string& range : settings.proxies) {
        if (AddressRange::parse(range)) continue;
        say("echo_coro: --proxy-from {}: {}\n", range,
            make_error_code(Errc::invalid_range).message());
        return EX_USAGE;
    }
    if (const auto refused = refuse_addresses(settings.own)) return *refused;
    const auto log = std::make_shared<Log>(settings.log);
    auto tls = make_tls(settings, *log);
    if (!tls) return EX_NOINPUT;
    const std::size_t descriptors = raise_descriptor_limit();
    ServeOptions options;
    options.listen = listen_address(settings);
    options.max_connections = settings.max_connections;
    options.workers = settings.workers;
    options.pin_workers = settings.pin;
    options.drain_timeout = settings.drain_timeout;
    options.idle_timeout = settings.idle_timeout;
    options.loop.backend = settings.backend;
    options.loop.features.direct_descriptors =
        settings.direct_descriptors ||
        settings.max_connections + ServeOptions::reserved_descriptors > descriptors;
    options.metrics = settings.own.metrics;
    options.backdoor = settings.own.backdoor;
    options.loop.stall_limit = settings.stall_limit;
    options.loop.busy_poll = settings.busy_poll;
    options.dump_signal = SIGUSR1;
    options.drain_spread = settings.drain_spread;
    options.socket.liveness = {
        .keep_alive = std::chrono::duration_cast<std::chrono::seconds>(settings.keep_alive),
        .user_timeout = settings.user_timeout};
    options.hand_over = settings.own.hand_over;
    options.hook_signals = {SIGHUP, SIGUSR2};
    options.reload_signal = SIGHUP;
    options.on_signal = [&](int signal) {
        if (signal == SIGHUP) return reload(*tls, *log);
        if (settings.own.hand_over.empty()) return refuse_to_start_anew(*log);
        start_anew(argv, settings.takes_given_sockets ? "--listen=fd:" : nullptr, *log);
    };
    options.task_list = settings.task_list;
    options.log = log;
    const auto refuse = [&](std::error_code error) {
        if (!is_reported(error))
            log->write(LogLevel::error, advice(listen_address(settings), error));
        return exit_status(error);
    };
    auto addresses = resolve_listen(options.listen); // which may take long
    if (!addresses) return refuse(addresses.error());
    options.addresses = std::move(*addresses);
    const bool given = std::ranges::any_of(options.addresses, [](const ListenAddress& address) {
        return address.descriptor_name.has_value();
    });
    block_signals();
    auto workers = Workers::create(options);
    if (!workers) return refuse(workers.error());
    warn_of_limit(*log, *workers, settings.max_connections, descriptors);
    if (!settings.quiet) print_start(*workers, given, settings.pin, tls->has_value(), descriptors);
    if (const int status = end_output("echo_coro", EX_OK)) return status;
    const auto serve = [&](auto handler) {
        return run_behind_proxies(*workers, settings, *log, std::move(handler));
    };
    auto report = *tls                             ? serve(with_tls(**tls, echo<TlsStream>))
                  : settings.own.hand_over.empty() ? serve(echo<StreamSocket>)
                                                   : serve(echo_or_hand_over);
    if (!report) return refuse(report.error());
    if (!settings.quiet) print_end(*report);
    return end_output("echo_coro", EX_OK);
}

} // namespace

int main(int argc, char** argv) {
    end_by_signals_as_first_process();
    ignore_broken_pipes();
    hold_standard_streams();
    Settings settings;
    CLI::App app("Echo server: one coroutine per connection, on io_uring or epoll.", "echo_coro");
    const auto ended =
        parse_command_line(app, argc, argv, [&](CLI::App& to) { add_options(to, settings); });
    if (ended) return *ended;
    settings.takes_given_sockets = settings.listen.empty() && app.get_option("--port")->empty() &&
                                   app.get_option("--host")->empty() &&
                                   !given_socket_names().empty();
    return run(settings, argv);
}
