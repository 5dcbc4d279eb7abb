#include "result_files.hpp"

#include "environment.hpp"
#include "histogram_files.hpp"
#include "units.hpp"

#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

using Json = nlohmann::ordered_json;

namespace {

std::optional<Refusal> write_to(OutputFile& file, const std::string& text) {
    return file.write(text) ? std::nullopt : std::optional(unwritten(file.path()));
}

std::optional<Refusal> write_json(OutputFile& file, const Json& json) {
    // The text of a system error need not be UTF-8.
    return write_to(file, json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n');
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

void add_result_files(CLI::App& app, ResultPaths& paths) {
    app.add_option(
           "--json", paths.json,
           "Write the result to this file as JSON: docs/guides/echo_bench.md has its keys.\n"
           "-, here and below: to stdout, and the report to stderr")
        ->type_name("FILE");
    app.add_option("--hgrm", paths.hgrm,
                   "Write the latencies to this file as percentiles (HdrHistogram's text form);\n"
                   "with --churn those of whole connections")
        ->type_name("FILE");
    app.add_option("--hlog", paths.hlog,
                   "Write the latencies to this file as a log of HdrHistogram (1.3, compressed);\n"
                   "with --churn those of whole connections too, with the tag 'connections'")
        ->type_name("FILE");
}

std::optional<Refusal> ResultFiles::open(const ResultPaths& paths) {
    const std::pair<OutputFile&, const std::string&> all[] = {
        {json_, paths.json}, {hgrm_, paths.hgrm}, {hlog_, paths.hlog}};
    for (const auto& [file, path] : all) {
        if (!path.empty() && !file.open(path)) return unwritten(path);
    }
    for (const auto& [file, path] : all) {
        for (const auto& [other, other_path] : all) {
            if (&file == &other || !file.is_open() || !other.is_open()) continue;
            if (!file.is_same_as(other)) continue;
            return Refusal{EX_USAGE, fmt::format("{} and {} are one file: give each result its own",
                                                 path, other_path)};
        }
        const bool is_printed_into =
            file.is_same_as(STDOUT_FILENO) || file.is_same_as(STDERR_FILENO);
        if (file.is_open() && path != "-" && is_printed_into) {
            return Refusal{EX_USAGE,
                           fmt::format("{} is where stdout or stderr goes as well: write it "
                                       "as -, or send them elsewhere",
                                       path)};
        }
    }
    return std::nullopt;
}

std::optional<Refusal> ResultFiles::write(const Measurement& measurement) {
    std::optional<Refusal> failed;
    if (json_.is_open()) failed = write_json(json_, to_json(measurement));
    if (!failed && hgrm_.is_open()) {
        const LoadResult total = total_of(measurement);
        const bool churn = measurement.settings.at("churn").get<bool>();
        failed =
            write_to(hgrm_, percentiles_text(churn ? total.connection_latency : total.latency));
    }
    if (!failed && hlog_.is_open()) failed = write_to(hlog_, log_text(intervals_of(measurement)));
    return failed;
}

std::optional<Refusal> ResultFiles::write(const HoldOptions& options, const HoldResult& result) {
    if (!json_.is_open()) return std::nullopt;
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
          {"interrupted", result.interrupted},
          {"server_user_bytes_per_connection", bytes(result.server_user_bytes_per_connection)},
          {"kernel_bytes_per_connection", bytes(result.kernel_bytes_per_connection)}}}};
    return write_json(json_, json);
}
