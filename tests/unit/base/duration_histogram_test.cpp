#include "support.hpp"

#include <ringlet/duration_histogram.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

// The bucket that a duration is counted in.
std::size_t bucket_for(std::chrono::nanoseconds duration) {
    DurationHistogram histogram;
    histogram.add(duration);
    CHECK(histogram.total_count() == 1);
    std::size_t bucket = 0;
    while (histogram.counts[bucket] == 0) ++bucket;
    return bucket;
}

} // namespace

TEST_CASE("histograms of durations: a bound belongs to its own bucket") {
    for (std::size_t bucket = 0; bucket < DurationHistogram::bound_count; ++bucket) {
        CAPTURE(bucket);
        CHECK(bucket_for(DurationHistogram::bound(bucket)) == bucket);
        CHECK(bucket_for(DurationHistogram::bound(bucket) + 1ns) == bucket + 1);
    }
    CHECK(DurationHistogram::bound(0) == 8192ns);
    CHECK(bucket_for(0ns) == 0);
    CHECK(bucket_for(1ns) == 0);
    CHECK(bucket_for(std::chrono::nanoseconds::max()) == DurationHistogram::bound_count);
}

TEST_CASE("histograms of durations: sums are exact, and a negative duration counts as zero") {
    DurationHistogram histogram;
    histogram.add(3us);
    histogram.add(2s);
    histogram.add(-1s);
    CHECK(histogram.sum_nanoseconds == 2'000'003'000);
    CHECK(histogram.counts[0] == 2);
    DurationHistogram both = histogram;
    both += histogram;
    CHECK(both.sum_nanoseconds == 4'000'006'000);
    CHECK(both.counts[0] == 4);
    CHECK(both.total_count() == 6);
}

TEST_CASE("histograms of durations: add_evenly counts as if each duration were added") {
    constexpr std::uint64_t count = 1000;
    for (const std::chrono::nanoseconds longest :
         {0ns, 1ns, 8192ns, 8193ns, 100'000ns, 50'000'000ns, std::chrono::nanoseconds(5s)}) {
        CAPTURE(longest.count());
        DurationHistogram even;
        even.add_evenly(longest, count);
        DurationHistogram each;
        for (std::uint64_t at = 1; at <= count; ++at)
            each.add(longest * static_cast<std::int64_t>(at) / static_cast<std::int64_t>(count));
        CHECK(even.total_count() == count);
        CHECK(even.sum_nanoseconds == count * static_cast<std::uint64_t>(longest.count()) / 2);
        std::uint64_t even_up_to = 0;
        std::uint64_t each_up_to = 0;
        for (std::size_t bucket = 0; bucket < even.counts.size(); ++bucket) {
            even_up_to += even.counts[bucket];
            each_up_to += each.counts[bucket];
            CAPTURE(bucket);
            CHECK(even_up_to <= each_up_to + 1); // rounded
            CHECK(each_up_to <= even_up_to + 1);
        }
    }
    DurationHistogram none;
    none.add_evenly(1s, 0);
    CHECK(none.total_count() == 0);
}
