#include "result_files.hpp"

#include "environment.hpp"
#include "histogram_files.hpp"

#include <cstdio>
#include <memory>

#include <fmt/format.h>

using Json = nlohmann::ordered_json;

namespace {

double seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

template <class Write>
bool write(const std::string& path, Write write_to) {
    using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
    if (path.empty()) return true;
    File file(std::fopen(path.c_str(), "w"), &std::fclose);
    if (!file) return false;
    write_to(file.get());
    const bool written = std::ferror(file.get()) == 0;
    return std::fclose(file.release()) == 0 && written;
}

bool write_json(const std::string& path, const Json& json) {
    // What an error of the system says need not be UTF-8.
    const auto text = json.dump(2, ' ', false, Json::error_handler_t::replace);
    return write(path, [&](std::FILE* file) { fmt::print(file, "{}\n", text); });
}

std::vector<Interval> intervals_of(const Measurement& measurement) {
    std::vector<Interval> intervals;
    const bool churn = measurement.settings.at("churn").get<bool>();
    for (const Run& run : measurement.runs) {
        const LoadResult& result = run.result;
        intervals.push_back({"", result.begin, result.wall, result.latency});
        if (!churn) continue;
        intervals.push_back({"connections", result.begin, result.wall, result.connection_latency});
    }
    return intervals;
}

} // namespace

void add_result_files(CLI::App& app, ResultFiles& files) {
    app.add_option("--json", files.json,
                   "Write the result to this file as JSON: docs/echo_bench.md has its keys");
    app.add_option("--hgrm", files.hgrm,
                   "Write the latencies to this file as percentiles (HdrHistogram's text form);\n"
                   "with --churn those of whole connections");
    app.add_option("--hlog", files.hlog,
                   "Write the latencies to this file as a log of HdrHistogram (1.3, compressed);\n"
                   "with --churn those of whole connections too, with the tag 'connections'");
}

std::string write_files(const ResultFiles& files, const Measurement& measurement) {
    if (!files.json.empty() && !write_json(files.json, to_json(measurement))) return files.json;
    const auto write_hgrm = [&](std::FILE* file) {
        const LoadResult total = total_of(measurement);
        const bool churn = measurement.settings.at("churn").get<bool>();
        write_percentiles(file, churn ? total.connection_latency : total.latency);
    };
    const auto write_hlog = [&](std::FILE* file) { write_log(file, intervals_of(measurement)); };
    if (!write(files.hgrm, write_hgrm)) return files.hgrm;
    if (!write(files.hlog, write_hlog)) return files.hlog;
    return "";
}

std::string write_files(const ResultFiles& files, const HoldOptions& options,
                        const HoldResult& result) {
    const auto bytes = [](const std::optional<double>& value) {
        return value ? Json(*value) : Json();
    };
    const HoldCount& total = result.total;
    const Json json = {
        {"schema_version", 2},
        {"kind", "hold"},
        {"program", "echo_bench " RINGLET_VERSION},
        {"build", describe_build()},
        {"machine", describe_machine()},
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
          {"kernel_bytes_per_connection", bytes(result.kernel_bytes_per_connection)}}}};
    return files.json.empty() || write_json(files.json, json) ? "" : files.json;
}
