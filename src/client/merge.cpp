#include "merge.hpp"

#include "command_line.hpp"
#include "counted.hpp"
#include "measurement.hpp"
#include "output.hpp"
#include "read_file.hpp"
#include "refusal.hpp"
#include "report.hpp"
#include "result_files.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using Json = nlohmann::ordered_json;

namespace {

// Results of a thousand clients are smaller.
constexpr std::size_t result_bytes_limit = 256 << 20;

void add_options(CLI::App& app, std::vector<std::string>& results, ResultPaths& files) {
    app.add_option("results", results, "Files that echo_bench --json has written")
        ->type_name("FILE")
        ->required();
    add_result_files(app, files);
    app.footer(
        R"(For clients, on one machine or several, that loaded one server at the same time and in the same
way. Counts and throughput are added up, and the histograms bucket by bucket: the result is what
one client would have counted. --json keeps every client's own result, and can be merged again.

The exit status is 0 without errors and 1 with; 64 bad option, 65 a file is not a result, the
loads differ, or a run is there twice, 66 a file cannot be read, 73 a result file cannot be
written.)");
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
    Json all = a;
    all.update(b); // some have a setting only if it was asked for
    for (const auto& [name, any] : all.items()) {
        const Json one = a.value(name, Json());
        const Json other = b.value(name, Json());
        if (one != other) return fmt::format("{}: {} and {}", name, one.dump(), other.dump());
    }
    return std::nullopt;
}

// Two runs of one client differ in when they began and in how long they took. Times in a merged file may
// be rounded.
bool is_same_run(const Run& a, const Run& b) {
    using Time = std::chrono::nanoseconds;
    const auto is_near = [](Time one, Time other) {
        return std::chrono::abs(one - other) < std::chrono::microseconds(1);
    };
    const LoadResult& x = a.result;
    const LoadResult& y = b.result;
    return a.client == b.client && is_near(x.begin - y.begin, Time(0)) && is_near(x.wall, y.wall) &&
           is_near(x.cpu, y.cpu) && x.errors == y.errors &&
           std::ranges::equal(x.latency.counts(), y.latency.counts());
}

// Whether there was a moment when all of them were measuring.
bool have_overlapped(const std::vector<Run>& runs) {
    auto last_begin = runs.front().result.begin;
    auto first_end = last_begin + runs.front().result.wall;
    for (const Run& run : runs) {
        last_begin = std::max(last_begin, run.result.begin);
        first_end = std::min(first_end, run.result.begin + run.result.wall);
    }
    return last_begin < first_end;
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
    std::vector<std::string> came_from; // for each run
    for (const std::string& path : paths) {
        Measurement measurement;
        if (auto refusal = read(path, measurement)) return refuse(*refusal);
        if (merged.runs.empty()) merged.settings = measurement.settings;
        if (const auto differs = difference(merged.settings, measurement.settings)) {
            return refuse({EX_DATAERR, fmt::format("{} and {} are results of different loads: {}",
                                                   paths.front(), path, *differs)});
        }
        for (Run& run : measurement.runs) {
            for (std::size_t i = 0; i < merged.runs.size(); ++i) {
                if (!is_same_run(run, merged.runs[i])) continue;
                return refuse({EX_DATAERR, fmt::format("{} and {} hold the same run of the same "
                                                       "client: it can be added only once",
                                                       came_from[i], path)});
            }
            merged.runs.push_back(std::move(run));
            came_from.push_back(path);
        }
    }
    ResultFiles files;
    if (auto refusal = files.open(result_paths)) return refuse(*refusal);
    print_report(merged);
    if (!have_overlapped(merged.runs)) {
        say("echo_bench: there was no moment in which all clients measured: the throughput is "
            "the sum of what each reached by itself\n");
    }
    const LoadResult total = total_of(merged);
    if (!total.first_error.empty()) {
        say("echo_bench: {}; the first: {}\n", counted(total.errors, "error"), total.first_error);
    }
    if (auto refusal = files.write(merged)) return refuse(*refusal);
    return total.errors == 0 ? EX_OK : 1;
}
