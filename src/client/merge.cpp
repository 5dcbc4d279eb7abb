#include "merge.hpp"

#include "command_line.hpp"
#include "measurement.hpp"
#include "read_file.hpp"
#include "refusal.hpp"
#include "report.hpp"
#include "result_files.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

using Json = nlohmann::ordered_json;

namespace {

// A result of a thousand clients is smaller.
constexpr std::size_t result_bytes_limit = 256 << 20;

void add_options(CLI::App& app, std::vector<std::string>& results, ResultPaths& files) {
    app.add_option("results", results, "Files that echo_bench --json has written")
        ->type_name("FILE")
        ->required();
    add_result_files(app, files);
    app.footer(
        "For clients, on one machine or on several, that loaded one server at the same time and in "
        "the same\n"
        "way. Counts and throughput are added up, and the histograms bucket by bucket: what comes "
        "out is what\n"
        "one client would have counted. --json keeps every client's own result, and can be merged "
        "again.\n"
        "\n"
        "The exit status is 0 without errors and 1 with; 64 bad option, 65 a file is no result, or "
        "the loads\n"
        "differ, 66 a file cannot be read, 73 a result file cannot be written.");
}

std::optional<Refusal> read(const std::string& path, Measurement& measurement) {
    std::string text;
    if (!read_file(path, result_bytes_limit, text)) {
        return Refusal{EX_NOINPUT, fmt::format("cannot read {}: {}", path, std::strerror(errno))};
    }
    try {
        measurement = measurement_from(text);
    } catch (const UnreadableResult& failure) {
        return Refusal{EX_DATAERR, fmt::format("{} {}", path, failure.what())};
    }
    return std::nullopt;
}

// The first setting that two loads do not have in common.
std::optional<std::string> difference(const Json& a, const Json& b) {
    for (const auto& [name, value] : a.items()) {
        const Json other = b.value(name, Json());
        if (value != other) return fmt::format("{}: {} and {}", name, value.dump(), other.dump());
    }
    return std::nullopt;
}

} // namespace

int merge_results(int argc, char** argv) {
    CLI::App app("Adds up the results of several clients.", "echo_bench merge");
    std::vector<std::string> paths;
    ResultPaths result_paths;
    const auto ended = parse_command_line(
        app, argc, argv, [&](CLI::App& to) { add_options(to, paths, result_paths); });
    if (ended) return *ended;

    Measurement merged;
    for (const std::string& path : paths) {
        Measurement measurement;
        if (auto refusal = read(path, measurement)) return refuse(*refusal);
        if (merged.runs.empty()) merged.settings = measurement.settings;
        if (const auto differs = difference(merged.settings, measurement.settings)) {
            return refuse({EX_DATAERR, fmt::format("{} and {} are results of different loads: {}",
                                                   paths.front(), path, *differs)});
        }
        for (Run& run : measurement.runs) merged.runs.push_back(std::move(run));
    }
    ResultFiles files;
    if (auto refusal = files.open(result_paths)) return refuse(*refusal);
    print_report(merged);
    const LoadResult total = total_of(merged);
    if (!total.first_error.empty()) {
        fmt::print(stderr, "echo_bench: {} errors; the first: {}\n", total.errors,
                   total.first_error);
    }
    if (auto refusal = files.write(merged)) return refuse(*refusal);
    return total.errors == 0 ? EX_OK : 1;
}
