#pragma once

// Counts latencies in buckets whose width grows with the value, so that every percentile is right
// to within 1 % and memory stays the same for any number of samples.

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>

class Histogram {
public:
    using Nanoseconds = std::chrono::nanoseconds;

    void add(Nanoseconds latency, std::uint64_t count = 1);

    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] Nanoseconds min() const { return count_ == 0 ? Nanoseconds{0} : min_; }
    [[nodiscard]] Nanoseconds max() const { return max_; }
    [[nodiscard]] Nanoseconds mean() const;
    /// The latency that `share` (0 to 1) of the samples do not exceed.
    [[nodiscard]] Nanoseconds percentile(double share) const;

    /// Writes the percentile distribution as text in the layout of HdrHistogram's .hgrm files, in
    /// milliseconds.
    void write_percentiles(std::FILE* file) const;

private:
    // Values below 2^7 ns have a bucket each; each power of two above is cut into 128.
    static constexpr unsigned precision_bits = 7;
    static constexpr unsigned largest_bits = 42; // 73 minutes
    static constexpr std::size_t bucket_count = (largest_bits - precision_bits + 1)
                                                << precision_bits;
    static std::size_t bucket_of(std::uint64_t value);
    static std::uint64_t largest_in(std::size_t bucket);

    std::array<std::uint64_t, bucket_count> buckets_{};
    std::uint64_t count_ = 0;
    double sum_ = 0;
    Nanoseconds min_ = Nanoseconds::max();
    Nanoseconds max_{0};
};
