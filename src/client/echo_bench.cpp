// echo_bench: loads an echo server with one coroutine per connection at a time, and compares every
// byte that comes back.

#include "command_line.hpp"
#include "counted.hpp"
#include "descriptor_limit.hpp"
#include "environment.hpp"
#include "first_process.hpp"
#include "hold.hpp"
#include "interruption.hpp"
#include "load.hpp"
#include "load_workers.hpp"
#include "merge.hpp"
#include "options.hpp"
#include "output.hpp"
#include "payload.hpp"
#include "read_file.hpp"
#include "refusal.hpp"
#include "report.hpp"
#include "target.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sysexits.h>
#include <unistd.h>

using namespace ringlet;

namespace {

std::optional<Refusal> read_message(Settings& settings) {
    LoadOptions& load = settings.load;
    if (settings.message_file.empty()) {
        load.message = make_message(settings.size_bytes);
    } else {
        std::string text;
        if (!read_file(settings.message_file, message_bytes_limit, text)) {
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
        load.numbered = false;
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
std::optional<Refusal> fit_descriptors(std::uint64_t coroutines, std::uint64_t workers) {
    const std::uint64_t own_descriptors = 8 + 8 * workers;
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

// `why` is in words; `failure` is the system's error.
Refusal no_server(const Settings& settings, const std::string& why, std::error_code failure) {
    const Endpoint& server = settings.load.server;
    if (settings.load.tls) {
        return {EX_UNAVAILABLE,
                fmt::format(
                    "cannot speak TLS with {}: {}. Is the server running, and does it speak TLS?",
                    server.to_string(), why)};
    }
    std::string where = fmt::format("{}: {}", server.to_string(), why);
    if (!settings.other_addresses.empty()) {
        where = fmt::format("any address of {}: {}", settings.host, settings.other_addresses);
    }
    return {EX_UNAVAILABLE, fmt::format("cannot connect to {}. {}", where, hint(server, failure))};
}

int measure_hold(Settings& settings, ResultFiles& files) {
    HoldOptions& hold = settings.hold;
    hold.server = settings.load.server;
    hold.message = settings.load.message;
    hold.timeout = settings.load.timeout;
    hold.progress = settings.load.progress;
    hold.loop = settings.loop;
    raise_descriptor_limit();
    if (auto refusal = read_sources(settings)) return refuse(*refusal);

    int signal = 0;
    HoldResult result;
    {
        Interruption interruption;
        result = run_hold(hold, interruption);
        signal = interruption.signal();
    }
    if (!result.fatal.empty()) return refuse({result.fatal_status, result.fatal});
    const HoldCount& total = result.total;
    if (!result.interrupted && total.held == 0 && total.first_echo_errors == 0) {
        const std::error_code failure(total.first_errno, std::generic_category());
        return refuse(no_server(settings, result.first_error, failure));
    }
    print_report(hold, result);
    if (result.interrupted) say("echo_bench: interrupted by {}\n", signal_name(signal));
    if (!result.first_error.empty()) say("echo_bench: {}\n", result.first_error);
    if (auto refusal = files.write(hold, result)) return refuse(*refusal);
    if (result.interrupted) return interrupted_status(signal);
    return total.last_echo_successes == hold.connections ? EX_OK : 1;
}

int measure_load(Settings& settings, ResultFiles& files, std::vector<std::string> command_line) {
    LoadOptions& load = settings.load;
    if (settings.workers > load.coroutines) {
        return refuse(
            {EX_USAGE, fmt::format("--workers {} have no more than -t {} coroutines to do: "
                                   "raise -t, or lower --workers",
                                   settings.workers, load.coroutines)});
    }
    if (auto refusal = fit_descriptors(load.coroutines, settings.workers)) return refuse(*refusal);
    int signal = 0;
    LoadOutcome outcome;
    {
        Interruption interruption;
        outcome = run_workers(load, settings.loop, settings.workers, interruption);
        signal = interruption.signal();
    }
    if (outcome.refusal) return refuse(*outcome.refusal);
    if (!outcome.result) {
        return refuse(
            {interrupted_status(signal),
             fmt::format("interrupted by {} before anything was measured", signal_name(signal))});
    }
    const nlohmann::ordered_json client = {{"program", "echo_bench " RINGLET_VERSION},
                                           {"command_line", std::move(command_line)},
                                           {"build", describe_build()},
                                           {"machine", describe_machine()},
                                           {"backend", outcome.backend}};
    const Measurement measurement{describe_load(load, settings.loop.busy_poll, settings.workers),
                                  {{client, std::move(*outcome.result)}}};
    const LoadResult& result = measurement.runs.front().result;
    print_report(measurement, settings.quiet ? Extent::last_line : Extent::whole);

    if (result.interrupted) {
        say("echo_bench: interrupted by {} after {:.2f} s: what is told was measured until then\n",
            signal_name(signal), std::chrono::duration<double>(result.wall).count());
    } else if (result.connections_made == 0) {
        return refuse(no_server(settings, result.connect_error, result.connect_failure));
    } else if (result.gave_up) {
        say("echo_bench: gave up after {:.2f} s: {} connections of each coroutine in a row brought "
            "no echo from {}; the last: {}\n",
            std::chrono::duration<double>(result.wall).count(), load.give_up_after,
            load.server.to_string(), result.last_failure);
    }
    if (!result.first_error.empty()) {
        say("echo_bench: {}; the first: {}\n", counted(result.errors, "error"), result.first_error);
    }
    if (auto refusal = files.write(measurement)) return refuse(*refusal);
    if (result.interrupted) return interrupted_status(signal);
    if (result.gave_up) return EX_UNAVAILABLE;
    return result.errors == 0 ? EX_OK : 1;
}

// The name to verify is the server's, as the user wrote it.
std::optional<Refusal> make_tls(Settings& settings, const Target& target) {
    const TlsRequest& request = settings.tls;
    if (!request.is_wanted) return std::nullopt;
    std::string cause;
    TlsClientOptions options;
    options.authorities = request.authorities;
    options.verify = !request.insecure;
    options.certificate = request.certificate;
    options.protocols = request.protocols;
    options.resumption = !request.full_handshakes;
    options.causes = &cause;
    options.handshake_timeout = settings.load.timeout;
    auto context = TlsContext::client(options);
    if (!context) return Refusal{EX_NOINPUT, cause};
    std::string name = request.server_name;
    if (name.empty() && !target.is_unix()) name = target.host;
    settings.load.tls = TlsSettings{*context, std::move(name)};
    settings.hold.tls = settings.load.tls;
    return std::nullopt;
}

// Finds the address that HOST and -p mean.
std::optional<Refusal> choose_server(Settings& settings, const Target& target) {
    if (target.port && settings.port_is_given && *target.port != settings.port) {
        return Refusal{EX_USAGE, fmt::format("{} and -p {} name two ports: write one of them",
                                             settings.host, settings.port)};
    }
    ServerOptions options;
    options.port = settings.port;
    options.timeout = settings.load.timeout;
    options.loop = settings.loop;
    FoundServer server;
    auto refusal = find_server(target, options, server);
    settings.load.server = server.endpoint;
    settings.other_addresses = std::move(server.others);
    return refusal;
}

int measure(Settings& settings, std::vector<std::string> command_line) {
    if (auto refusal = read_message(settings)) return refuse(*refusal);
    const auto target = Target::parse(settings.host);
    if (!target) {
        return refuse({EX_USAGE, fmt::format("'{}' is no HOST: write localhost, localhost:3200, "
                                             "::1, [::1]:3200 or unix:/PATH",
                                             settings.host)});
    }
    if (auto refusal = make_tls(settings, *target)) return refuse(*refusal);
    if (auto refusal = choose_server(settings, *target)) return refuse(*refusal);
    settings.load.progress = settings.progress && ::isatty(STDERR_FILENO) != 0;
    ResultFiles files;
    if (auto refusal = files.open(settings.files)) return refuse(*refusal);
    if (settings.hold.connections > 0) return measure_hold(settings, files);
    return measure_load(settings, files, std::move(command_line));
}

} // namespace

int main(int argc, char** argv) {
    ignore_broken_pipes();
    hold_standard_streams();
    end_by_signals_as_first_process();
    if (argc > 1 && std::string_view(argv[1]) == "merge") {
        return end_output("echo_bench", merge_results(argc - 1, argv + 1));
    }
    Settings settings;
    CLI::App app(
        "Load client for echo servers: one coroutine per connection, on io_uring or epoll.",
        "echo_bench");
    const auto ended =
        parse_command_line(app, argc, argv, [&](CLI::App& to) { add_options(to, settings); });
    if (ended) return *ended;
    return end_by_signal(end_output("echo_bench", measure(settings, {argv, argv + argc})));
}
