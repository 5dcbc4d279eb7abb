#pragma once

// What was measured under one kind of load, by one client or by several at the same time: the content
// of a result file, and its meaning.

#include "load.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

/// What one client measured.
struct Run {
    nlohmann::ordered_json client; ///< who that was: program, command line, build, machine
    LoadResult result;
};

struct Measurement {
    nlohmann::ordered_json settings; ///< of the load, the same for all clients
    std::vector<Run> runs;           ///< at least one
};

/// The load as it stands in a result file.
nlohmann::ordered_json describe_load(const LoadOptions& options,
                                     std::chrono::microseconds busy_poll,
                                     std::uint64_t workers = 1);

/// All clients together. Their time is the longest that any took.
LoadResult total_of(const Measurement& measurement);

/// Requests, or whole connections, per second: the sum of what each client reached in its time.
double requests_per_second(const Measurement& measurement);
double connections_per_second(const Measurement& measurement);

/// Why a client, and not the server, may have been the limit: "cpu", "late_sends". Empty if nothing
/// suggests it; none if it cannot be judged: the run was too short, or the client busy-polls.
std::optional<std::vector<std::string>> client_limits(const nlohmann::ordered_json& settings,
                                                      const LoadResult& result);

/// The share of its time in which the client ran, or wanted to and had no core: up to 1 for each thread.
double busy_share(const LoadResult& result);

struct Percentile {
    const char* name;
    double share;
    std::uint64_t samples_needed;
};

/// With fewer samples, fewer than ten lie beyond the percentile: chance would decide it.
inline constexpr Percentile percentiles[] = {{"p50", 0.5, 20},
                                             {"p90", 0.9, 100},
                                             {"p99", 0.99, 1'000},
                                             {"p99.9", 0.999, 10'000},
                                             {"p99.99", 0.9999, 100'000}};

/// Converts to and from the content of a result file.
nlohmann::ordered_json to_json(const Measurement& measurement);

/// Says in one line why a file is not a readable result.
class UnreadableResult : public std::runtime_error {
    using std::runtime_error::runtime_error;
};
/// Throws `UnreadableResult`.
Measurement measurement_from(const std::string& text);
