#include "histogram_files.hpp"

#include "histogram_codec.hpp"
#include "units.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace {

constexpr double ns_per_ms = 1e6;

// From 0 % to 100 %: five steps cover half of the distance that is left to 100 %.
constexpr double steps_of_a_half = 5;

double next_level(double level) {
    const double halves = std::floor(std::log2(100 / (100 - level))) + 1;
    return level + 100 / (steps_of_a_half * std::exp2(halves));
}

// Written with twelve digits, half a unit is rounded up, as Java does it.
double written(double level) { return std::round(level * 1e10) / 1e12; }

double deviation(const Histogram& histogram, double mean) {
    double sum = 0;
    const auto counts = histogram.counts();
    for (std::size_t bucket = 0; bucket < counts.size(); ++bucket) {
        const double distance = Histogram::middle_of(bucket) - mean;
        sum += distance * distance * static_cast<double>(counts[bucket]);
    }
    return std::sqrt(sum / static_cast<double>(std::max<std::uint64_t>(histogram.count(), 1)));
}

} // namespace

std::string percentiles_text(const Histogram& histogram) {
    std::string text;
    const auto out = std::back_inserter(text);
    fmt::format_to(out, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount",
                   "1/(1-Percentile)");
    std::uint64_t seen = 0;
    double level = 0;
    const auto counts = histogram.counts();
    for (std::size_t bucket = 0; seen < histogram.count(); ++bucket) {
        if (counts[bucket] == 0) continue;
        seen += counts[bucket];
        const double reached =
            100 * static_cast<double>(seen) / static_cast<double>(histogram.count());
        const double value = static_cast<double>(Histogram::largest_in(bucket)) / ns_per_ms;
        // Each level reached here gets a line; at the last sample only the next level does.
        while (reached >= level) {
            fmt::format_to(out, "{:12.3f} {:2.12f} {:10} {:14.2f}\n", value, written(level), seen,
                           1 / (1 - level / 100));
            level = next_level(level);
            if (seen == histogram.count()) break;
        }
        if (seen == histogram.count()) {
            fmt::format_to(out, "{:12.3f} {:2.12f} {:10}\n", value, 1.0, seen);
        }
    }
    const double mean = histogram.mean().count();
    fmt::format_to(out, "#[Mean    = {:12.3f}, StdDeviation   = {:12.3f}]\n", mean / ns_per_ms,
                   deviation(histogram, mean) / ns_per_ms);
    fmt::format_to(out, "#[Max     = {:12.3f}, Total count    = {:12}]\n",
                   static_cast<double>(histogram.max().count()) / ns_per_ms, histogram.count());
    fmt::format_to(out, "#[Buckets = {:12}, SubBuckets     = {:12}]\n",
                   Histogram::largest_bits - Histogram::precision_bits,
                   2U << Histogram::precision_bits);
    return text;
}

std::string log_text(std::span<const Interval> intervals) {
    std::string text;
    const auto out = std::back_inserter(text);
    const auto is_earlier = [](const Interval& a, const Interval& b) { return a.begin < b.begin; };
    const auto first = std::min_element(intervals.begin(), intervals.end(), is_earlier)->begin;
    fmt::format_to(out, "#[Histogram log format version 1.3]\n");
    fmt::format_to(out, "#[StartTime: {:.3f} (seconds since epoch), {:%a %b %d %H:%M:%S UTC %Y}]\n",
                   seconds(first.time_since_epoch()),
                   fmt::gmtime(std::chrono::system_clock::to_time_t(first)));
    fmt::format_to(out, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
                        "\"Interval_Compressed_Histogram\"\n");
    for (const Interval& interval : intervals) {
        if (!interval.tag.empty()) fmt::format_to(out, "Tag={},", interval.tag);
        fmt::format_to(out, "{:.3f},{:.3f},{:.3f},{}\n", seconds(interval.begin - first),
                       seconds(interval.length),
                       static_cast<double>(interval.histogram.max().count()) / ns_per_ms,
                       encode(interval.histogram));
    }
    return text;
}
