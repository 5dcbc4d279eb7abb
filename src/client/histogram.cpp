#include "histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace {

constexpr std::uint64_t buckets_of_a_power = std::uint64_t{1} << Histogram::precision_bits;

// How many of their lowest bits differ between values that are counted together.
unsigned lost_bits(std::size_t bucket) {
    const std::size_t power = bucket >> Histogram::precision_bits;
    return power == 0 ? 0 : static_cast<unsigned>(power - 1);
}

Histogram::Nanoseconds duration_of(std::uint64_t value) {
    return Histogram::Nanoseconds(static_cast<std::int64_t>(value));
}

} // namespace

std::size_t Histogram::bucket_of(std::uint64_t value) {
    value = std::min(value, largest_value);
    const unsigned bits = static_cast<unsigned>(std::bit_width(value));
    if (bits <= precision_bits) return value;
    const unsigned shift = bits - precision_bits - 1;
    return (std::size_t{shift} << precision_bits) + (value >> shift);
}

std::uint64_t Histogram::smallest_in(std::size_t bucket) {
    if (bucket < buckets_of_a_power) return bucket;
    return (bucket % buckets_of_a_power + buckets_of_a_power) << lost_bits(bucket);
}

std::uint64_t Histogram::largest_in(std::size_t bucket) {
    return smallest_in(bucket) + (std::uint64_t{1} << lost_bits(bucket)) - 1;
}

double Histogram::middle_of(std::size_t bucket) {
    const std::uint64_t half_width = (std::uint64_t{1} << lost_bits(bucket)) / 2;
    return static_cast<double>(smallest_in(bucket) + half_width);
}

void Histogram::add(Nanoseconds latency, std::uint64_t count) {
    const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(latency.count(), 0));
    add_to_bucket(bucket_of(value), count);
}

void Histogram::add_to_bucket(std::size_t bucket, std::uint64_t count) {
    counts_[bucket] += count;
    count_ += count;
}

Histogram& Histogram::operator+=(const Histogram& other) {
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        add_to_bucket(bucket, other.counts_[bucket]);
    }
    return *this;
}

Histogram::Nanoseconds Histogram::min() const {
    const auto first = std::find_if(counts_.begin(), counts_.end(), [](auto n) { return n > 0; });
    if (first == counts_.end()) return Nanoseconds{0};
    return duration_of(smallest_in(static_cast<std::size_t>(first - counts_.begin())));
}

Histogram::Nanoseconds Histogram::max() const { return percentile(1); }

std::chrono::duration<double, std::nano> Histogram::mean() const {
    double sum = 0;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        sum += middle_of(bucket) * static_cast<double>(counts_[bucket]);
    }
    return std::chrono::duration<double, std::nano>(
        sum / static_cast<double>(std::max<std::uint64_t>(count_, 1)));
}

Histogram::Nanoseconds Histogram::percentile(double share) const {
    // A share without an exact binary value must not ask for one more sample.
    const double exact = std::nextafter(share * static_cast<double>(count_), 0);
    const auto wanted = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(std::ceil(exact)),
                                                  std::uint64_t{1}, count_ + 1);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        seen += counts_[bucket];
        if (seen >= wanted) return duration_of(largest_in(bucket));
    }
    return Nanoseconds{0};
}
