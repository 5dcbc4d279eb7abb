#pragma once

#include <ringlet/detail/config.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace RINGLET_EXPORT ringlet {

/// Counts durations by length. Each bucket's bound is twice the one before.
///
/// Cost      `add` is a few instructions; no allocation, 176 bytes.
struct DurationHistogram {
    static constexpr std::size_t bound_count = 20;
    /// The first bucket's bound is 2^13 ns, about 8 µs. The last bound is 2^32 ns, about 4.3 s.
    static constexpr unsigned first_bound_log2 = 13;

    /// How many were above the previous bound but not above their own. The last: above every bound.
    std::array<std::uint64_t, bound_count + 1> counts{};
    std::uint64_t sum_nanoseconds = 0;

    /// The longest duration that a bucket counts.
    [[nodiscard]] static constexpr std::chrono::nanoseconds bound(std::size_t bucket) noexcept {
        return std::chrono::nanoseconds(std::int64_t{1} << (first_bound_log2 + bucket));
    }

    /// A negative one counts as zero.
    void add(std::chrono::nanoseconds duration) noexcept {
        const std::uint64_t length = length_of(duration);
        ++counts[bucket_of(length)];
        sum_nanoseconds += length;
    }

    /// Adds `count` durations, spread evenly between zero and `longest`.
    void add_evenly(std::chrono::nanoseconds longest, std::uint64_t count) noexcept {
        const std::uint64_t length = length_of(longest);
        sum_nanoseconds += count * length / 2;
        const std::size_t last = bucket_of(length);
        // How many reach at most the highest bound below `longest`; half of them at most half that bound,
        // and so on.
        std::uint64_t below =
            last == 0 ? 0 : count * (std::uint64_t{1} << (first_bound_log2 + last - 1)) / length;
        counts[last] += count - below;
        for (std::size_t bucket = last; bucket > 0 && below > 0; --bucket) {
            const std::uint64_t shorter = bucket == 1 ? 0 : below / 2;
            counts[bucket - 1] += below - shorter;
            below = shorter;
        }
    }

    [[nodiscard]] std::uint64_t total_count() const noexcept {
        std::uint64_t total = 0;
        for (const std::uint64_t count : counts) total += count;
        return total;
    }

    DurationHistogram& operator+=(const DurationHistogram& other) noexcept {
        for (std::size_t bucket = 0; bucket < counts.size(); ++bucket)
            counts[bucket] += other.counts[bucket];
        sum_nanoseconds += other.sum_nanoseconds;
        return *this;
    }

private:
    [[nodiscard]] static std::uint64_t length_of(std::chrono::nanoseconds duration) noexcept {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
    }
    [[nodiscard]] static std::size_t bucket_of(std::uint64_t length) noexcept {
        const auto needed = length == 0 ? 0 : static_cast<unsigned>(std::bit_width(length - 1));
        return needed <= first_bound_log2
                   ? 0
                   : std::min<std::size_t>(needed - first_bound_log2, bound_count);
    }
};

} // namespace ringlet
