// echo_bench: loads an echo server with one coroutine per connection at a time, and compares every
// byte that comes back.

#include "backend_option.hpp"
#include "busy_poll_option.hpp"
#include "command_line.hpp"
#include "duration_option.hpp"
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
};

/// A reason to end before anything was measured.
struct Refusal {
    int status;
    std::string line;
};

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
    add_backend(app, settings.loop.backend);
    add_busy_poll(app, settings.loop.busy_poll);
    app.add_option("host", settings.host, "Address or name of the server")->capture_default_str();
    app.footer("Every coroutine opens -c connections in turn and sends the message -e times on "
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
               "127.0.0.1");
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

// One descriptor per coroutine, and a few for the program.
std::optional<Refusal> fit_descriptors(std::uint64_t coroutines) {
    constexpr std::uint64_t own_descriptors = 16;
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (coroutines + own_descriptors <= limit.rlim_cur) return std::nullopt;
    return Refusal{EX_USAGE,
                   fmt::format("-t {} needs {} descriptors and the limit is {}: raise it with "
                               "'ulimit -n', or lower -t",
                               coroutines, coroutines + own_descriptors, limit.rlim_cur)};
}

int measure(Settings& settings) {
    LoadOptions& load = settings.load;
    auto refusal = read_message(settings);
    if (!refusal) refusal = fit_descriptors(load.coroutines);
    if (refusal) {
        fmt::print(stderr, "echo_bench: {}\n", refusal->line);
        return refusal->status;
    }
    auto server = Endpoint::resolve(settings.host, settings.port);
    if (!server) {
        fmt::print(stderr, "echo_bench: {}: {}\n", settings.host, server.error().message());
        return exit_status(server);
    }
    load.server = *server;
    load.progress = settings.progress && ::isatty(STDERR_FILENO) != 0;

    auto loop = EventLoop::create(settings.loop);
    if (!loop) {
        fmt::print(stderr, "echo_bench: {}\n", loop.error().message());
        return exit_status(loop);
    }
    const LoadResult result = run_load(*loop, load);
    print_report(load, result);

    if (result.connections_made == 0) {
        fmt::print(stderr,
                   "echo_bench: cannot connect to {}: {}. Is the server running? Start one with "
                   "'echo_coro --port {}'\n",
                   load.server.to_string(), result.connect_error.message(), settings.port);
        return EX_UNAVAILABLE;
    }
    if (!result.first_error.empty()) {
        fmt::print(stderr, "echo_bench: {} errors; the first: {}\n", result.errors,
                   result.first_error);
    }
    std::string unwritten;
    if (!settings.json_file.empty() && !write_json(settings.json_file, load, result)) {
        unwritten = settings.json_file;
    } else if (!settings.hgrm_file.empty() && !write_hgrm(settings.hgrm_file, result)) {
        unwritten = settings.hgrm_file;
    }
    if (!unwritten.empty()) {
        fmt::print(stderr, "echo_bench: cannot write {}: {}\n", unwritten, std::strerror(errno));
        return EX_CANTCREAT;
    }
    return result.errors == 0 ? EX_OK : 1;
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
