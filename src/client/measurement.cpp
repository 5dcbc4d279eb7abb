#include "measurement.hpp"

#include "units.hpp"

#include <algorithm>
#include <numeric>

#include <zlib.h>

using Json = nlohmann::ordered_json;

namespace {

// Above this the client's one thread is so busy that the server may have waited for it.
constexpr double busy_share_limit = 0.9;
// The share of requests that may go out late before the client counts as too slow.
constexpr double late_share_limit = 0.01;
// In a shorter run the start and the end dominate, not the load.
constexpr std::chrono::milliseconds shortest_judged_run{200};

std::uint64_t checksum(const std::vector<std::byte>& message) {
    const auto* bytes = reinterpret_cast<const Bytef*>(message.data());
    return ::crc32_z(0, bytes, message.size());
}

template <class Count>
double sum_per_second(const Measurement& measurement, Count count) {
    double sum = 0;
    for (const Run& run : measurement.runs) {
        sum += static_cast<double>(run.result.*count) / seconds(run.result.wall);
    }
    return sum;
}

} // namespace

Json describe_load(const LoadOptions& options, std::chrono::microseconds busy_poll,
                   std::uint64_t workers) {
    const bool timed = options.duration.count() > 0;
    Json load = {{"server", options.server.to_string()},
                 {"coroutines", options.coroutines},
                 {"connections_each", timed ? Json() : Json(options.connections_each)},
                 {"echoes_each", options.echoes_each},
                 {"pipeline", options.pipeline},
                 {"message_bytes", options.message.size()},
                 {"message_crc32", checksum(options.message)},
                 {"messages_numbered", options.numbered},
                 {"churn", options.churn},
                 {"duration_s", seconds(options.duration)},
                 {"warmup_s", seconds(options.warmup)},
                 {"timeout_s", seconds(options.timeout)},
                 {"rate_per_s", options.rate},
                 {"busy_poll_us", busy_poll.count()}};
    if (workers > 1) load["workers"] = workers;
    if (options.tls) load["tls_server_name"] = options.tls->server_name;
    return load;
}

LoadResult total_of(const Measurement& measurement) {
    LoadResult total = measurement.runs.front().result;
    for (std::size_t i = 1; i < measurement.runs.size(); ++i) {
        const LoadResult& other = measurement.runs[i].result;
        total.successes += other.successes;
        total.errors += other.errors;
        total.connections_made += other.connections_made;
        total.connections_failed += other.connections_failed;
        total.handshakes_resumed += other.handshakes_resumed;
        if (total.first_error.empty()) total.first_error = other.first_error;
        if (total.last_failure.empty()) total.last_failure = other.last_failure;
        if (total.connect_error.empty()) {
            total.connect_error = other.connect_error;
            total.connect_failure = other.connect_failure;
        }
        total.latency += other.latency;
        total.connections_whole += other.connections_whole;
        total.connection_latency += other.connection_latency;
        total.begin = std::min(total.begin, other.begin);
        total.wall = std::max(total.wall, other.wall);
        total.cpu += other.cpu;
        total.cpu_wait += other.cpu_wait;
        total.late_sends += other.late_sends;
        total.never_sent += other.never_sent;
        total.interrupted = total.interrupted || other.interrupted;
        total.gave_up = total.gave_up || other.gave_up;
        total.unfinished += other.unfinished;
        total.latest_send = std::max(total.latest_send, other.latest_send);
    }
    return total;
}

double requests_per_second(const Measurement& measurement) {
    return sum_per_second(measurement, &LoadResult::successes);
}

double connections_per_second(const Measurement& measurement) {
    return sum_per_second(measurement, &LoadResult::connections_whole);
}

double busy_share(const LoadResult& result) {
    return seconds(result.cpu + result.cpu_wait) / seconds(result.wall);
}

std::optional<std::vector<std::string>> client_limits(const Json& settings,
                                                      const LoadResult& result) {
    const bool polls = settings.at("busy_poll_us").get<std::int64_t>() > 0;
    const bool open_loop = settings.at("rate_per_s").get<double>() > 0;
    if (result.wall < shortest_judged_run || (polls && !open_loop)) return std::nullopt;
    std::vector<std::string> limits;
    const auto workers = settings.value("workers", 1.0);
    if (!polls && busy_share(result) > busy_share_limit * workers) limits.emplace_back("cpu");
    const double late = static_cast<double>(result.late_sends);
    const double all = static_cast<double>(result.successes + result.errors);
    if (late > late_share_limit * all) limits.emplace_back("late_sends");
    return limits;
}
