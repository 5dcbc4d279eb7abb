#pragma once

// Counts latencies in buckets whose width grows with the value, so that every figure is right to
// within 0.1 % and memory stays the same for any number of samples. The buckets are those of an
// HdrHistogram of three digits, so its tools compute the same figures as we do. All figures come
// from the counts alone, so merged histograms give the same as one that counted everything.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

class Histogram {
public:
    using Nanoseconds = std::chrono::nanoseconds;

    static constexpr int significant_digits = 3;
    // Values below 2^10 ns have a bucket each; each power of two above is cut into 1,024.
    static constexpr unsigned precision_bits = 10;
    static constexpr unsigned largest_bits = 42; // 73 minutes; longer times count as that
    static constexpr std::uint64_t largest_value = (std::uint64_t{1} << largest_bits) - 1;
    static constexpr std::size_t bucket_count = (largest_bits - precision_bits + 1)
                                                << precision_bits;

    void add(Nanoseconds latency, std::uint64_t count = 1);
    void add_to_bucket(std::size_t bucket, std::uint64_t count);
    Histogram& operator+=(const Histogram& other);

    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] Nanoseconds min() const;
    [[nodiscard]] Nanoseconds max() const;
    [[nodiscard]] std::chrono::duration<double, std::nano> mean() const; ///< 0 of none
    /// The latency that `share` (0 to 1) of the samples do not exceed.
    [[nodiscard]] Nanoseconds percentile(double share) const;

    /// How many samples each bucket has, and which values, in ns, are counted in it.
    [[nodiscard]] std::span<const std::uint64_t> counts() const { return counts_; }
    static std::uint64_t smallest_in(std::size_t bucket);
    static std::uint64_t largest_in(std::size_t bucket);
    /// The value that stands for all of the bucket in a mean.
    static double middle_of(std::size_t bucket);

private:
    static std::size_t bucket_of(std::uint64_t value);

    std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(bucket_count);
    std::uint64_t count_ = 0;
};
