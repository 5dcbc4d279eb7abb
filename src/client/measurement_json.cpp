// The result file: docs/guides/echo_bench.md tells what its keys mean.

#include "histogram_codec.hpp"
#include "measurement.hpp"
#include "units.hpp"

#include <set>

#include <fmt/format.h>

using std::chrono::duration;
using std::chrono::nanoseconds;
using Json = nlohmann::ordered_json;

namespace {

constexpr int schema_version = 2;

nanoseconds from_seconds(const Json& json) {
    return std::chrono::duration_cast<nanoseconds>(duration<double>(json.get<double>()));
}

Json latency_json(const Histogram& latency) {
    Json json = {{"samples", latency.count()}};
    if (latency.count() == 0) return json;
    json["min"] = microseconds(latency.min());
    json["mean"] = microseconds(latency.mean());
    for (const Percentile& percentile : percentiles) {
        if (latency.count() < percentile.samples_needed) break;
        json[percentile.name] = microseconds(latency.percentile(percentile.share));
    }
    json["max"] = microseconds(latency.max());
    return json;
}

// The figures of one client, or of all together.
Json figures(const Measurement& measurement, const LoadResult& result) {
    Json json = {{"wall_s", seconds(result.wall)},
                 {"throughput_per_s", requests_per_second(measurement)},
                 {"requests", result.successes},
                 {"errors", result.errors},
                 {"first_error", result.first_error},
                 {"connections_made", result.connections_made},
                 {"connections_failed", result.connections_failed},
                 {"latency_us", latency_json(result.latency)}};
    if (measurement.settings.contains("tls_server_name"))
        json["handshakes_resumed"] = result.handshakes_resumed;
    if (measurement.settings.at("churn").get<bool>()) {
        json["connections_whole"] = result.connections_whole;
        json["connections_per_s"] = connections_per_second(measurement);
        json["connection_latency_us"] = latency_json(result.connection_latency);
    }
    json["client_cpu_s"] = seconds(result.cpu);
    json["client_cpu_wait_s"] = seconds(result.cpu_wait);
    json["late_sends"] = result.late_sends;
    json["latest_send_us"] = microseconds(result.latest_send);
    json["never_sent"] = result.never_sent;
    json["interrupted"] = result.interrupted;
    json["gave_up"] = result.gave_up;
    json["unfinished"] = result.unfinished;
    return json;
}

Json run_json(const Measurement& measurement, const Run& run) {
    Json json = {{"client", run.client},
                 {"began_unix_s", seconds(run.result.begin.time_since_epoch())}};
    json.update(figures({measurement.settings, {run}}, run.result));
    const auto limits = client_limits(measurement.settings, run.result);
    json["client_limits"] = limits ? Json(*limits) : Json();
    json["latency_histogram"] = encode(run.result.latency);
    if (json.contains("connections_whole")) {
        json["connection_histogram"] = encode(run.result.connection_latency);
    }
    return json;
}

// None if one could not be judged, unless another was certainly limited.
Json all_limits(const Measurement& measurement) {
    std::set<std::string> all;
    bool judged = true;
    for (const Run& run : measurement.runs) {
        const auto limits = client_limits(measurement.settings, run.result);
        judged = judged && limits;
        if (limits) all.insert(limits->begin(), limits->end());
    }
    return judged || !all.empty() ? Json(all) : Json();
}

// Checks that a load has all settings, with the types that ours have.
void check_settings(const Json& settings) {
    const auto kind = [](const Json& value) {
        return value.is_number() ? Json::value_t::number_float : value.type();
    };
    const Json ours = describe_load({}, {});
    for (const auto& [name, our_value] : ours.items()) {
        const Json& value = settings.at(name);
        const bool may_be_null = name == "connections_each";
        if (kind(value) != kind(our_value) && !(may_be_null && value.is_null())) {
            throw UnreadableResult(fmt::format("has {} as the setting {}", value.dump(), name));
        }
    }
}

Histogram histogram_from(const Json& json) {
    auto histogram = decode_histogram(json.get_ref<const std::string&>());
    if (!histogram) throw UnreadableResult("has a histogram that cannot be read");
    return std::move(*histogram);
}

LoadResult result_from(const Json& json, bool churn) {
    LoadResult result;
    result.begin += from_seconds(json.at("began_unix_s"));
    result.wall = from_seconds(json.at("wall_s"));
    json.at("requests").get_to(result.successes);
    json.at("errors").get_to(result.errors);
    json.at("first_error").get_to(result.first_error);
    json.at("connections_made").get_to(result.connections_made);
    json.at("connections_failed").get_to(result.connections_failed);
    result.handshakes_resumed = json.value("handshakes_resumed", std::uint64_t{0});
    result.cpu = from_seconds(json.at("client_cpu_s"));
    result.cpu_wait = from_seconds(json.at("client_cpu_wait_s"));
    json.at("late_sends").get_to(result.late_sends);
    result.latest_send = std::chrono::duration_cast<nanoseconds>(
        duration<double, std::micro>(json.at("latest_send_us").get<double>()));
    // These keys were added later than the others.
    result.never_sent = json.value("never_sent", std::uint64_t{0});
    result.interrupted = json.value("interrupted", false);
    result.gave_up = json.value("gave_up", false);
    result.unfinished = json.value("unfinished", std::uint64_t{0});
    result.latency = histogram_from(json.at("latency_histogram"));
    if (churn) {
        json.at("connections_whole").get_to(result.connections_whole);
        result.connection_latency = histogram_from(json.at("connection_histogram"));
    }
    if (result.wall <= nanoseconds(0) || result.latency.count() != result.successes) {
        throw UnreadableResult("has figures that contradict each other");
    }
    return result;
}

} // namespace

Json to_json(const Measurement& measurement) {
    Json total = figures(measurement, total_of(measurement));
    total["client_limits"] = all_limits(measurement);
    Json runs = Json::array();
    for (const Run& run : measurement.runs) runs.push_back(run_json(measurement, run));
    return {{"schema_version", schema_version},
            {"kind", "load"},
            {"settings", measurement.settings},
            {"total", std::move(total)},
            {"runs", std::move(runs)}};
}

Measurement measurement_from(const std::string& text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object() || !json.contains("schema_version")) {
        throw UnreadableResult("is no result of echo_bench");
    }
    if (json["schema_version"] != schema_version) {
        throw UnreadableResult(
            fmt::format("has the schema version {}, and this echo_bench reads {}",
                        json["schema_version"].dump(), schema_version));
    }
    try {
        if (json.at("kind") != "load") {
            throw UnreadableResult("is the result of --hold, and only loads can be merged");
        }
        Measurement measurement{json.at("settings"), {}};
        check_settings(measurement.settings);
        const bool churn = measurement.settings.at("churn").get<bool>();
        for (const Json& run : json.at("runs")) {
            measurement.runs.push_back({run.at("client"), result_from(run, churn)});
        }
        if (measurement.runs.empty()) throw UnreadableResult("has no run");
        return measurement;
    } catch (const Json::exception& failure) {
        throw UnreadableResult(fmt::format("is no result of echo_bench: {}", failure.what()));
    }
}
