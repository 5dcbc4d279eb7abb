// echo_bench: loads an echo server with one coroutine per connection at a time, and compares every
// byte that comes back.

#include "backend_option.hpp"
#include "busy_poll_option.hpp"
#include "command_line.hpp"
#include "duration_option.hpp"
#include "hold.hpp"
#include "load.hpp"
#include "report.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

using namespace ringlet;

namespace {

// A message, and all that are in flight together on one connection, may have this many bytes.
constexpr std::uint64_t message_bytes_limit = 64 << 20;

struct Settings {
    LoadOptions load;
    std::string host = "127.0.0.1";
    std::uint16_t port = 3200;
    LoopOptions loop;
    std::string message_file;
    std::uint64_t size_bytes = 64;
    std::string json_file;
    std::string hgrm_file;
    bool progress = true;
    HoldOptions hold;
    std::string sources;
};

/// A reason to end before anything was measured.
struct Refusal {
    int status;
    std::string line;
};

void add_hold_options(CLI::App& app, Settings& settings) {
    auto* hold =
        app.add_option("--hold", settings.hold.connections,
                       "Instead of a load: hold so many connections at the same time, "
                       "echo once on each when\n"
                       "it is opened and once when all have been held for --hold-time, and "
                       "say what one costs")
            ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{10'000'000}));
    for (const char* of_a_load :
         {"-t", "-c", "-e", "--duration", "--warmup", "--rate", "--pipeline", "--hgrm"}) {
        hold->excludes(app.get_option(of_a_load));
    }
    app.add_option("--sources", settings.sources,
                   "Where the held connections come from; default 127.0.0.0/8 to a server at\n"
                   "127.x.x.x, and the kernel's choice to others")
        ->type_name("CIDR")
        ->needs(hold);
    add_duration(app, "--hold-time", settings.hold.hold_time, std::chrono::milliseconds(0),
                 "How long all are held; default 1s")
        ->needs(hold);
    app.add_option("--server-pid", settings.hold.server_pid,
                   "The server's process: say how much its memory grew for each connection")
        ->check(CLI::Range(1, 1 << 30))
        ->needs(hold);
}

void add_options(CLI::App& app, Settings& settings) {
    LoadOptions& load = settings.load;
    const CLI::Range up_to_a_million(std::uint64_t{1}, std::uint64_t{1'000'000});
    app.set_version_flag("--version", "echo_bench " RINGLET_VERSION);
    app.add_option("-t", load.coroutines, "Coroutines: connections at the same time")
        ->check(up_to_a_million)
        ->capture_default_str();
    app.add_option("-c", load.connections_each, "Connections of each, one after another")
        ->check(up_to_a_million)
        ->capture_default_str();
    app.add_option("-e", load.echoes_each, "Echoes on each connection")
        ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000'000}))
        ->capture_default_str();
    app.add_option("-p", settings.port, "Port of the server")
        ->check(CLI::Range(1, 65535))
        ->capture_default_str();
    auto* file = app.add_option("-f", settings.message_file, "File that holds the message");
    app.add_option("--size", settings.size_bytes, "Or the size of a made-up message, in bytes")
        ->check(CLI::Range(std::uint64_t{1}, message_bytes_limit))
        ->capture_default_str()
        ->excludes(file);
    add_duration(app, "--duration", load.duration, std::chrono::milliseconds(1),
                 "Measure for so long (as 500ms, 10s, 2min) instead of -c connections");
    add_duration(app, "--warmup", load.warmup, std::chrono::milliseconds(0),
                 "Load for so long before measuring");
    add_duration(app, "--timeout", load.timeout, std::chrono::milliseconds(1),
                 "A connection on which nothing moved for so long is an error; default 30s");
    app.add_option("--rate", load.rate,
                   "Open loop: begin so many echoes a second over all coroutines, and count each\n"
                   "latency from when the echo was due. 0: each as soon as the last has come back")
        ->check(CLI::Range(0.0, 1e9))
        ->capture_default_str();
    app.add_option("--pipeline", load.pipeline, "Echoes in flight together on each connection")
        ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{10'000}))
        ->capture_default_str();
    app.add_option("--json", settings.json_file, "Write the result to this file as JSON");
    app.add_option("--hgrm", settings.hgrm_file,
                   "Write the latencies to this file as percentiles (HdrHistogram's text form)");
    app.add_flag("--progress,!--no-progress", settings.progress,
                 "Show progress on stderr, if that is a terminal; the default");
    add_hold_options(app, settings);
    add_backend(app, settings.loop.backend);
    add_busy_poll(app, settings.loop.busy_poll);
    app.add_option("host", settings.host, "Address or name of the server")->capture_default_str();
    app.footer(
        "Every coroutine opens -c connections in turn and sends the message -e times on "
        "each, waiting\n"
        "for the whole echo and comparing every byte. The last line on stdout is\n"
        "  Throughput: N [reqests/sec], errors: N\n"
        "where errors counts the requests that did not come back whole and right. The exit "
        "status is\n"
        "0 without errors and 1 with; 64 bad option, 66 message file, 68 unknown host, 69 "
        "no server or\n"
        "--backend io_uring refused, 73 a result file cannot be written.\n"
        "\n"
        "The classic load:  echo_bench -t 2000 -c 5 -e 1000 -f bench/message.json -p 3200 "
        "127.0.0.1\n"
        "\n"
        "--hold starts as many processes as their descriptors are needed for, and exits with 0 "
        "only if all\n"
        "were held and answered both times. The server's memory is Rss in "
        "/proc/PID/smaps_rollup, the\n"
        "kernel's is Slab in /proc/meminfo, which counts both ends when both are on this "
        "machine. What is\n"
        "told is how much they grew, so it takes a server that has just begun (a used one "
        "has memory left\n"
        "over), and says little below 1,000 connections.\n"
        "Try it:  echo_bench --hold 15000 --server-pid PID -p 3200");
}

// Reads a whole file; false, with errno set, if that fails.
bool read_file(const std::string& path, std::string& text) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) return false;
    std::array<char, 65'536> piece;
    while (const std::size_t size = std::fread(piece.data(), 1, piece.size(), file)) {
        text.append(piece.data(), size);
        if (text.size() > message_bytes_limit) break; // is refused later
    }
    const int failure = std::ferror(file) != 0 ? errno : 0;
    std::fclose(file);
    errno = failure;
    return failure == 0;
}

std::optional<Refusal> read_message(Settings& settings) {
    LoadOptions& load = settings.load;
    if (settings.message_file.empty()) {
        // Every position differs from its neighbours, so that a shifted echo is found.
        load.message.resize(settings.size_bytes);
        for (std::size_t i = 0; i < load.message.size(); ++i) {
            load.message[i] = static_cast<std::byte>('!' + i % 89);
        }
    } else {
        std::string text;
        if (!read_file(settings.message_file, text)) {
            return Refusal{EX_NOINPUT, fmt::format("cannot read the message file {}: {}",
                                                   settings.message_file, std::strerror(errno))};
        }
        if (text.empty()) {
            return Refusal{EX_NOINPUT, fmt::format("the message file {} is empty: it must hold at "
                                                   "least one byte",
                                                   settings.message_file)};
        }
        const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
        load.message.assign(bytes, bytes + text.size());
    }
    if (load.message.size() * load.pipeline > message_bytes_limit) {
        return Refusal{EX_USAGE,
                       fmt::format("{} messages of {} bytes in flight are more than {} MiB: "
                                   "lower --pipeline or --size",
                                   load.pipeline, load.message.size(), message_bytes_limit >> 20)};
    }
    return std::nullopt;
}

// As many descriptors as we may have. Returns what we got.
std::uint64_t raise_descriptor_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

// One descriptor per coroutine, and a few for the program.
std::optional<Refusal> fit_descriptors(std::uint64_t coroutines) {
    constexpr std::uint64_t own_descriptors = 16;
    const std::uint64_t limit = raise_descriptor_limit();
    if (coroutines + own_descriptors <= limit) return std::nullopt;
    return Refusal{EX_USAGE,
                   fmt::format("-t {} needs {} descriptors and the limit is {}: raise it with "
                               "'ulimit -n', or lower -t",
                               coroutines, coroutines + own_descriptors, limit)};
}

// Finds the sources of held connections; without any the kernel chooses.
std::optional<Refusal> read_sources(Settings& settings) {
    HoldOptions& hold = settings.hold;
    std::string cidr = settings.sources;
    if (cidr.empty() && hold.server.to_string().starts_with("127.")) cidr = "127.0.0.0/8";
    if (cidr.empty()) return std::nullopt;
    hold.sources = SourceAddresses::parse(cidr);
    if (!hold.sources) {
        return Refusal{EX_USAGE,
                       fmt::format("--sources: '{}' is no block of IPv4 addresses: write it as "
                                   "127.0.0.0/8",
                                   cidr)};
    }
    if (hold.server.is_v6()) {
        return Refusal{EX_USAGE,
                       fmt::format("--sources {} are IPv4 addresses, and the server is at "
                                   "{}",
                                   cidr, hold.server.to_string())};
    }
    if (hold.connections > hold.sources->capacity()) {
        return Refusal{EX_USAGE,
                       fmt::format("--sources {} has ports for {} connections, and --hold "
                                   "wants {}",
                                   cidr, hold.sources->capacity(), hold.connections)};
    }
    return std::nullopt;
}

int refuse(const Refusal& refusal) {
    fmt::print(stderr, "echo_bench: {}\n", refusal.line);
    return refusal.status;
}

Refusal no_server(const Endpoint& server, const std::string& why) {
    return {EX_UNAVAILABLE,
            fmt::format("cannot connect to {}: {}. Is the server running? Start one "
                        "with 'echo_coro --port {}'",
                        server.to_string(), why, server.port())};
}

Refusal unwritten(const std::string& path) {
    return {EX_CANTCREAT, fmt::format("cannot write {}: {}", path, std::strerror(errno))};
}

int measure_hold(Settings& settings) {
    HoldOptions& hold = settings.hold;
    hold.server = settings.load.server;
    hold.message = settings.load.message;
    hold.timeout = settings.load.timeout;
    hold.progress = settings.load.progress;
    hold.loop = settings.loop;
    raise_descriptor_limit();
    if (auto refusal = read_sources(settings)) return refuse(*refusal);

    const HoldResult result = run_hold(hold);
    if (!result.fatal.empty()) return refuse({result.fatal_status, result.fatal});
    const HoldCount& total = result.total;
    if (total.held == 0 && total.first_echo_errors == 0) {
        return refuse(no_server(hold.server, result.first_error));
    }
    print_report(hold, result);
    if (!result.first_error.empty()) fmt::print(stderr, "echo_bench: {}\n", result.first_error);
    if (!settings.json_file.empty() && !write_json(settings.json_file, hold, result)) {
        return refuse(unwritten(settings.json_file));
    }
    return total.last_echo_successes == hold.connections ? EX_OK : 1;
}

int measure_load(Settings& settings) {
    LoadOptions& load = settings.load;
    if (auto refusal = fit_descriptors(load.coroutines)) return refuse(*refusal);
    auto loop = EventLoop::create(settings.loop);
    if (!loop) return refuse({exit_status(loop), loop.error().message()});
    const LoadResult result = run_load(*loop, load);
    print_report(load, result);

    if (result.connections_made == 0) {
        return refuse(no_server(load.server, result.connect_error.message()));
    }
    if (!result.first_error.empty()) {
        fmt::print(stderr, "echo_bench: {} errors; the first: {}\n", result.errors,
                   result.first_error);
    }
    if (!settings.json_file.empty() && !write_json(settings.json_file, load, result)) {
        return refuse(unwritten(settings.json_file));
    }
    if (!settings.hgrm_file.empty() && !write_hgrm(settings.hgrm_file, result)) {
        return refuse(unwritten(settings.hgrm_file));
    }
    return result.errors == 0 ? EX_OK : 1;
}

int measure(Settings& settings) {
    if (auto refusal = read_message(settings)) return refuse(*refusal);
    auto server = Endpoint::resolve(settings.host, settings.port);
    if (!server) {
        return refuse(
            {exit_status(server), fmt::format("{}: {}", settings.host, server.error().message())});
    }
    settings.load.server = *server;
    settings.load.progress = settings.progress && ::isatty(STDERR_FILENO) != 0;
    return settings.hold.connections > 0 ? measure_hold(settings) : measure_load(settings);
}

} // namespace

int main(int argc, char** argv) {
    Settings settings;
    CLI::App app(
        "Load client for echo servers: one coroutine per connection, on io_uring or epoll.",
        "echo_bench");
    const auto ended =
        parse_command_line(app, argc, argv, [&](CLI::App& to) { add_options(to, settings); });
    if (ended) return *ended;
    return measure(settings);
}
