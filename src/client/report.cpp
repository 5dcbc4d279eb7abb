#include "report.hpp"

#include "counted.hpp"
#include "output.hpp"
#include "units.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

using std::chrono::nanoseconds;

namespace {

// A rate reached to this share counts as kept.
constexpr double kept_share = 0.98;

void print_latency(const char* of_what, const Histogram& latency) {
    print("{} [us]: min {:.1f}", of_what, microseconds(latency.min()));
    const Percentile* refused = nullptr;
    for (const Percentile& percentile : percentiles) {
        if (latency.count() < percentile.samples_needed) {
            refused = &percentile;
            break;
        }
        print(", {} {:.1f}", percentile.name, microseconds(latency.percentile(percentile.share)));
    }
    print(", max {:.1f}", microseconds(latency.max()));
    if (refused != nullptr) {
        print("; {}, {} needs {}", counted(latency.count(), "sample"), refused->name,
              refused->samples_needed);
    }
    print("\n");
}

// The figures show the client's own limits if it had no time left or sent too late.
void print_limits(const nlohmann::ordered_json& settings, const LoadResult& result,
                  const std::string& who) {
    for (const std::string& limit :
         client_limits(settings, result).value_or(std::vector<std::string>())) {
        if (limit == "cpu") {
            const auto workers = settings.value("workers", std::uint64_t{1});
            say("echo_bench: {} used {:.0f} % of a core and waited for one for {:.0f} % of "
                "the time{}: it, not the server, may have been the limit\n",
                who, 100 * seconds(result.cpu) / seconds(result.wall),
                100 * seconds(result.cpu_wait) / seconds(result.wall),
                workers == 1 ? "" : fmt::format(", its {} threads together", workers));
        } else {
            say("echo_bench: {} sent {} of {} requests more than 1 ms late, one {:.1f} ms: it "
                "was too busy for this rate\n",
                who, result.late_sends, result.successes + result.errors,
                seconds(result.latest_send) * 1e3);
        }
    }
}

void print_doubts(const Measurement& measurement) {
    for (std::size_t i = 0; i < measurement.runs.size(); ++i) {
        const auto who =
            measurement.runs.size() == 1 ? "the client" : fmt::format("client {}", i + 1);
        print_limits(measurement.settings, measurement.runs[i].result, who);
    }
    const double rate = measurement.settings.at("rate_per_s").get<double>() *
                        static_cast<double>(measurement.runs.size());
    const double reached = requests_per_second(measurement);
    if (rate > 0 && reached < kept_share * rate) {
        say("echo_bench: the rate was not kept: {:.2f} of {:.2f} a second; what waited for a "
            "connection that was still busy is in the latencies\n",
            reached, rate);
    }
}

// Which runs have ended before their time, and what that left.
void print_early_end(const char* how, bool LoadResult::* has_ended, const Measurement& measurement,
                     const LoadResult& total) {
    const auto& runs = measurement.runs;
    const auto count =
        std::ranges::count_if(runs, [has_ended](const Run& run) { return run.result.*has_ended; });
    if (count == 0) return;
    const std::string which = runs.size() == 1
                                  ? fmt::format("after {:.2f} s", seconds(total.wall))
                                  : fmt::format("{} of {} clients", count, runs.size());
    print("{}: {}, {} unfinished, neither right nor errors\n", how, which,
          counted(total.unfinished, "request"));
}

void print_summary(const Measurement& measurement, const LoadResult& total) {
    const auto& settings = measurement.settings;
    const auto& connections = settings.at("connections_each");
    const auto echoes = settings.at("echoes_each").get<std::uint64_t>();
    if (measurement.runs.size() > 1) print("{} clients, each of them:\n", measurement.runs.size());
    const auto workers = settings.value("workers", std::uint64_t{1});
    print("Load: {}{}, {}, {} of {} on each, to {}\n",
          workers == 1 ? "" : fmt::format("{} threads, ", workers),
          counted(settings.at("coroutines").get<std::uint64_t>(), "coroutine"),
          connections.is_null() ? "as many connections as fit"
                                : counted(connections.get<std::uint64_t>(), "connection") + " each",
          echoes == 1 ? "1 echo" : fmt::format("{} echoes", echoes),
          counted(settings.at("message_bytes").get<std::uint64_t>(), "byte"),
          settings.at("server").get<std::string>());
    print("Connections: {} made, {} failed\n", total.connections_made, total.connections_failed);
    if (settings.contains("tls_server_name")) {
        print("Handshakes: {} full, {} resumed\n",
              total.connections_made - total.handshakes_resumed, total.handshakes_resumed);
    }
    if (total.successes > 0) {
        print_latency("Latency", total.latency);
        print("Client: {:.2f} s of CPU in {:.2f} s, {:.2f} us per echo\n", seconds(total.cpu),
              seconds(total.wall), microseconds(total.cpu) / static_cast<double>(total.successes));
    }
    if (settings.at("churn").get<bool>()) {
        if (total.connections_whole > 0) {
            print_latency("Connect, echo and close", total.connection_latency);
        }
        print("Churn: {:.2f} connections a second, {} whole\n", connections_per_second(measurement),
              total.connections_whole);
    }
    if (total.never_sent > 0) {
        print("Never sent: {} of {} requests that were due before the end; they are errors\n",
              total.never_sent, total.successes + total.errors);
    }
    print_early_end("Interrupted", &LoadResult::interrupted, measurement, total);
    print_early_end("Gave up", &LoadResult::gave_up, measurement, total);
}

} // namespace

void print_report(const Measurement& measurement, Extent extent) {
    const LoadResult total = total_of(measurement);
    if (extent == Extent::whole) print_summary(measurement, total);
    if (total.successes > 0) print_doubts(measurement);
    print("Throughput: {:.2f} [reqests/sec], errors: {}\n", requests_per_second(measurement),
          total.errors);
    std::fflush(stdout);
}

void print_report(const HoldOptions& options, const HoldResult& result) {
    const HoldCount& total = result.total;
    print("Hold: {} to {}, by {} {}\n", counted(options.connections, "connection"),
          options.server.to_string(), result.processes,
          result.processes == 1 ? "process" : "processes");
    print("Connections: {} held, {} failed, {} not tried; opened in {:.2f} s\n", total.held,
          total.failed, options.connections - total.held - total.failed, result.open_seconds);
    print("Echoes of {} at the start: {} right, {} wrong or missing\n",
          counted(options.message.size(), "byte"), total.held, total.first_echo_errors);
    if (result.interrupted) {
        print(
            "Interrupted: before all echoes at the end; until then {} right, {} wrong or missing\n",
            total.last_echo_successes, total.last_echo_errors);
    } else {
        print("Echoes at the end, {:.1f} s later: {} right, {} wrong or missing\n",
              seconds(options.hold_time), total.last_echo_successes, total.last_echo_errors);
    }
    if (result.server_user_bytes_per_connection) {
        print("Memory of the server for each connection: {:.0f} bytes\n",
              *result.server_user_bytes_per_connection);
    }
    if (result.kernel_bytes_per_connection) {
        print("Memory of the kernel for each connection: {:.0f} bytes, both ends of it\n",
              *result.kernel_bytes_per_connection);
    }
    std::fflush(stdout);
}
