#include "histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

std::size_t Histogram::bucket_of(std::uint64_t value) {
    const unsigned bits = static_cast<unsigned>(std::bit_width(value));
    if (bits <= precision_bits) return value;
    const unsigned shift = bits - precision_bits - 1;
    const std::size_t bucket = ((std::size_t{shift} + 1) << precision_bits) +
                               ((value >> shift) - (std::uint64_t{1} << precision_bits));
    return std::min(bucket, bucket_count - 1);
}

std::uint64_t Histogram::largest_in(std::size_t bucket) {
    const std::size_t power = bucket >> precision_bits;
    if (power == 0) return bucket;
    const std::uint64_t offset = bucket & ((1U << precision_bits) - 1);
    const std::uint64_t first = (offset + (1U << precision_bits)) << (power - 1);
    return first + (std::uint64_t{1} << (power - 1)) - 1;
}

void Histogram::add(Nanoseconds latency, std::uint64_t count) {
    const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(latency.count(), 0));
    buckets_[bucket_of(value)] += count;
    count_ += count;
    sum_ += static_cast<double>(value) * static_cast<double>(count);
    min_ = std::min(min_, latency);
    max_ = std::max(max_, latency);
}

Histogram::Nanoseconds Histogram::mean() const {
    if (count_ == 0) return Nanoseconds{0};
    return Nanoseconds(static_cast<std::int64_t>(sum_ / static_cast<double>(count_)));
}

Histogram::Nanoseconds Histogram::percentile(double share) const {
    const auto wanted = std::max<std::uint64_t>(
        static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_))), 1);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        seen += buckets_[bucket];
        if (seen >= wanted) {
            return std::clamp(Nanoseconds(static_cast<std::int64_t>(largest_in(bucket))), min(),
                              max_);
        }
    }
    return max_;
}

void Histogram::write_percentiles(std::FILE* file) const {
    constexpr double ns_per_ms = 1e6;
    fmt::print(file, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount",
               "1/(1-Percentile)");
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        if (buckets_[bucket] == 0) continue;
        seen += buckets_[bucket];
        const double share = static_cast<double>(seen) / static_cast<double>(count_);
        const double value = static_cast<double>(largest_in(bucket)) / ns_per_ms;
        if (seen == count_) {
            fmt::print(file, "{:12.3f} {:2.12f} {:10}\n", value, share, seen);
        } else {
            fmt::print(file, "{:12.3f} {:2.12f} {:10} {:14.2f}\n", value, share, seen,
                       1 / (1 - share));
        }
    }
    fmt::print(file, "#[Mean    = {:12.3f}, Max     = {:12.3f}]\n",
               static_cast<double>(mean().count()) / ns_per_ms,
               static_cast<double>(max_.count()) / ns_per_ms);
    fmt::print(file, "#[Total count    = {:12}]\n", count_);
}
