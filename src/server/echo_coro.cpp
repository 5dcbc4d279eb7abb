// echo_coro: gives every client back what it sends, one coroutine per connection.

#include <ringlet/ringlet.hpp>

#include "backend_option.hpp"
#include "busy_poll_option.hpp"
#include "command_line.hpp"
#include "duration_option.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <string>

#include <sys/resource.h>
#include <sysexits.h>

using namespace ringlet;

namespace {

Task<> echo(TcpStream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;

        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

struct Settings {
    std::string host = "127.0.0.1";
    std::uint16_t port = 3200;
    Backend backend = Backend::automatic;
    std::size_t max_connections = 0;
    std::chrono::milliseconds drain_timeout{10'000};
    std::chrono::milliseconds idle_timeout{0};
    std::chrono::milliseconds stall_limit{0};
    std::chrono::microseconds busy_poll{0};
    bool quiet = false;
};

// As many descriptors as we may have: one connection takes one. Returns what we got.
std::size_t raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
    return static_cast<std::size_t>(limit.rlim_cur);
}

// Throws CLI::ParseError: also for --help and --version.
void add_options(CLI::App& app, Settings& settings) {
    app.set_version_flag("--version", "echo_coro " RINGLET_VERSION);
    app.add_option("--port", settings.port, "Port to listen on; 0 takes a free one")
        ->check(CLI::Range(0, 65535))
        ->capture_default_str();
    app.add_option("--host", settings.host, "Address or name of the interface to listen on")
        ->capture_default_str();
    add_backend(app, settings.backend);
    app.add_option("--max-connections", settings.max_connections,
                   "Connections served at once; further clients wait until others leave.\n"
                   "0: as many as the descriptor limit allows")
        ->check(CLI::Range(std::size_t{0}, std::size_t{10'000'000}))
        ->capture_default_str();
    add_duration(app, "--drain-timeout", settings.drain_timeout, std::chrono::milliseconds(0),
                 "How long connections may go on after SIGTERM, as 500ms, 10s, 2min; default 10s");
    add_duration(app, "--idle-timeout", settings.idle_timeout, std::chrono::milliseconds(0),
                 "End a connection on which nothing moved for so long; 0s, the default: never");
    add_duration(
        app, "--stall-limit", settings.stall_limit, std::chrono::milliseconds(0),
        "Name a connection that keeps the others waiting for so long; 0s, the default: no");
    add_busy_poll(app, settings.busy_poll);
    app.add_flag("--quiet", settings.quiet, "Print errors only");
    app.footer(
        "The first line on stdout names the address. SIGTERM or SIGINT: stop accepting, let\n"
        "connections finish within the drain time, cancel the rest, exit with 0. A second\n"
        "signal ends at once. SIGUSR1: list on stderr what every task waits for. Errors are one "
        "line on stderr and an exit status of sysexits(3):\n"
        "64 bad option, 68 unknown host, 69 port in use or --backend io_uring refused, 77 no "
        "permission.\n"
        "\n"
        "Try it:  echo_coro --port 3200 &  echo hello | socat - TCP:127.0.0.1:3200");
}

std::string listen_address(const Settings& settings) {
    const bool bare_v6 = settings.host.find(':') != std::string::npos && settings.host[0] != '[';
    return fmt::format(fmt::runtime(bare_v6 ? "[{}]:{}" : "{}:{}"), settings.host, settings.port);
}

int run(const Settings& settings) {
    const std::size_t descriptors = raise_descriptor_limit();
    ServeOptions options;
    options.listen = listen_address(settings);
    options.max_connections = settings.max_connections;
    options.drain_timeout = settings.drain_timeout;
    options.idle_timeout = settings.idle_timeout;
    options.loop.backend = settings.backend;
    options.loop.stall_limit = settings.stall_limit;
    options.loop.busy_poll = settings.busy_poll;
    options.dump_signal = SIGUSR1;
    options.loop.report = [](std::string_view line) {
        fmt::print(stderr, "echo_coro: {}\n", line);
    };
    auto server = Server::create(options);
    if (!server) {
        report_advice(options.loop, options.listen, server.error());
        return exit_status(server);
    }
    if (server->max_connections() > descriptors) {
        fmt::print(
            stderr,
            "echo_coro: --max-connections {} is more than the {} descriptors of this process: "
            "accepting will pause at that limit (see 'ulimit -n')\n",
            settings.max_connections, descriptors);
    }
    if (!settings.quiet) {
        fmt::print("echo_coro listens on {}, backend {}, 1 worker, at most {} connections "
                   "({} descriptors)\n",
                   server->local().to_string(), server->backend().to_string(),
                   server->max_connections(), descriptors);
        std::fflush(stdout);
    }
    auto report = server->run(echo);
    if (!report) {
        report_advice(options.loop, options.listen, report.error());
        return exit_status(report);
    }
    if (!settings.quiet) {
        fmt::print("echo_coro stopped: {} connections served, {} cancelled after the drain time\n",
                   report->accepted_count, report->cancelled_count);
        const RingStats& ring = report->loop.ring;
        fmt::print("{} system calls on {}, {} completions, {} pauses of accepting, "
                   "{} overflows of the completion queue\n",
                   ring.system_calls, to_string(server->backend().backend), ring.completions,
                   report->accept_pauses, ring.completion_overflows);
    }
    return EX_OK;
}

} // namespace

int main(int argc, char** argv) {
    Settings settings;
    CLI::App app("Echo server: one coroutine per connection, on io_uring or epoll.", "echo_coro");
    const auto ended =
        parse_command_line(app, argc, argv, [&](CLI::App& to) { add_options(to, settings); });
    if (ended) return *ended;
    return run(settings);
}
