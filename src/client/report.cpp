#include "report.hpp"

#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

using std::chrono::nanoseconds;

namespace {

double seconds(nanoseconds time) { return std::chrono::duration<double>(time).count(); }

double microseconds(nanoseconds time) {
    return std::chrono::duration<double, std::micro>(time).count();
}

double requests_per_second(const LoadResult& result) {
    return static_cast<double>(result.successes) / seconds(result.wall);
}

// Below this many samples the highest percentiles would be decided by a handful of them.
constexpr std::uint64_t samples_for_p999 = 10'000;

// From here on the client's one thread is so busy that the server may have waited for it.
constexpr double busy_share = 0.9;
// In a shorter run the start and the end decide, not the load.
constexpr std::chrono::milliseconds shortest_judged_run{200};

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File open_for_writing(const std::string& path) {
    return {std::fopen(path.c_str(), "w"), &std::fclose};
}

bool close_whole(File file) {
    const bool written = std::ferror(file.get()) == 0;
    return std::fclose(file.release()) == 0 && written;
}

bool write(const std::string& path, const nlohmann::ordered_json& json) {
    File file = open_for_writing(path);
    if (!file) return false;
    fmt::print(file.get(), "{}\n", json.dump(2));
    return close_whole(std::move(file));
}

} // namespace

void print_report(const LoadOptions& options, const LoadResult& result) {
    fmt::print("Load: {} coroutines, {} connections each, {} echoes of {} bytes on each, to {}\n",
               options.coroutines,
               options.duration.count() > 0 ? "as many as fit"
                                            : fmt::to_string(options.connections_each),
               options.echoes_each, options.message.size(), options.server.to_string());
    fmt::print("Connections: {} made, {} failed\n", result.connections_made,
               result.connections_failed);
    if (result.successes > 0) {
        const Histogram& latency = result.latency;
        fmt::print("Latency [us]: min {:.1f}, p50 {:.1f}, p90 {:.1f}, p99 {:.1f}",
                   microseconds(latency.min()), microseconds(latency.percentile(0.5)),
                   microseconds(latency.percentile(0.9)), microseconds(latency.percentile(0.99)));
        if (latency.count() >= samples_for_p999) {
            fmt::print(", p99.9 {:.1f}", microseconds(latency.percentile(0.999)));
        }
        fmt::print(", max {:.1f}\n", microseconds(latency.max()));
        const double share = seconds(result.cpu) / seconds(result.wall);
        fmt::print("Client: {:.2f} s of CPU in {:.2f} s, {:.2f} us per echo\n", seconds(result.cpu),
                   seconds(result.wall),
                   microseconds(result.cpu) / static_cast<double>(result.successes));
        if (share > busy_share && result.wall >= shortest_judged_run) {
            fmt::print(
                stderr,
                "echo_bench: the client used {:.0f} % of a core: it, not the server, may have "
                "been the limit\n",
                100 * share);
        }
    }
    fmt::print("Throughput: {:.2f} [reqests/sec], errors: {}\n", requests_per_second(result),
               result.errors);
    std::fflush(stdout);
}

void print_report(const HoldOptions& options, const HoldResult& result) {
    const HoldCount& total = result.total;
    fmt::print("Hold: {} connections to {}, by {} {}\n", options.connections,
               options.server.to_string(), result.processes,
               result.processes == 1 ? "process" : "processes");
    fmt::print("Connections: {} held, {} failed, {} not tried; opened in {:.2f} s\n", total.held,
               total.failed, options.connections - total.held - total.failed, result.open_seconds);
    fmt::print("Echoes of {} bytes at the start: {} right, {} wrong or missing\n",
               options.message.size(), total.held, total.first_echo_errors);
    fmt::print("Echoes at the end, {:.1f} s later: {} right, {} wrong or missing\n",
               seconds(options.hold_time), total.last_echo_successes, total.last_echo_errors);
    if (result.server_user_bytes_per_connection) {
        fmt::print("Memory of the server for each connection: {:.0f} bytes\n",
                   *result.server_user_bytes_per_connection);
    }
    if (result.kernel_bytes_per_connection) {
        fmt::print("Memory of the kernel for each connection: {:.0f} bytes, both ends of it\n",
                   *result.kernel_bytes_per_connection);
    }
    std::fflush(stdout);
}

bool write_json(const std::string& path, const LoadOptions& options, const LoadResult& result) {
    const Histogram& latency = result.latency;
    nlohmann::ordered_json json = {{"schema_version", 1},
                                   {"program", "echo_bench " RINGLET_VERSION},
                                   {"server", options.server.to_string()},
                                   {"coroutines", options.coroutines},
                                   {"connections_each", options.connections_each},
                                   {"echoes_each", options.echoes_each},
                                   {"pipeline", options.pipeline},
                                   {"message_bytes", options.message.size()},
                                   {"duration_s", seconds(options.duration)},
                                   {"warmup_s", seconds(options.warmup)},
                                   {"rate_per_s", options.rate},
                                   {"wall_s", seconds(result.wall)},
                                   {"client_cpu_s", seconds(result.cpu)},
                                   {"throughput_per_s", requests_per_second(result)},
                                   {"requests", result.successes},
                                   {"errors", result.errors},
                                   {"first_error", result.first_error},
                                   {"connections_made", result.connections_made},
                                   {"connections_failed", result.connections_failed},
                                   {"latency_us",
                                    {{"min", microseconds(latency.min())},
                                     {"mean", microseconds(latency.mean())},
                                     {"p50", microseconds(latency.percentile(0.5))},
                                     {"p90", microseconds(latency.percentile(0.9))},
                                     {"p99", microseconds(latency.percentile(0.99))},
                                     {"max", microseconds(latency.max())}}}};
    if (latency.count() >= samples_for_p999) {
        json["latency_us"]["p99.9"] = microseconds(latency.percentile(0.999));
    }
    return write(path, json);
}

bool write_json(const std::string& path, const HoldOptions& options, const HoldResult& result) {
    const auto bytes = [](const std::optional<double>& value) {
        return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
    };
    const HoldCount& total = result.total;
    return write(
        path,
        {{"schema_version", 1},
         {"program", "echo_bench " RINGLET_VERSION},
         {"server", options.server.to_string()},
         {"message_bytes", options.message.size()},
         {"hold",
          {{"wanted", options.connections},
           {"connections", total.held},
           {"failed", total.failed},
           {"not_tried", options.connections - total.held - total.failed},
           {"first_error", result.first_error},
           {"processes", result.processes},
           {"open_seconds", result.open_seconds},
           {"hold_seconds", seconds(options.hold_time)},
           {"first_echo_errors", total.first_echo_errors},
           {"last_echo_errors", total.last_echo_errors},
           {"server_user_bytes_per_connection", bytes(result.server_user_bytes_per_connection)},
           {"kernel_bytes_per_connection", bytes(result.kernel_bytes_per_connection)}}}});
}

bool write_hgrm(const std::string& path, const LoadResult& result) {
    File file = open_for_writing(path);
    if (!file) return false;
    result.latency.write_percentiles(file.get());
    return close_whole(std::move(file));
}
