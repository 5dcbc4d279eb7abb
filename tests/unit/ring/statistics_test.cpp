#include "support.hpp"

#include <ringlet/statistics.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

using namespace ringlet;

namespace {

template <class Stats>
using Words = std::array<std::uint64_t, sizeof(Stats) / sizeof(std::uint64_t)>;

// Every word is set to a different value, so that a field that is not added is found.
template <class Stats>
Words<Stats> doubled() {
    Words<Stats> words{};
    for (std::size_t at = 0; at < words.size(); ++at) words[at] = at + 1;
    const auto one = std::bit_cast<Stats>(words);
    auto sum = one;
    sum += one;
    return std::bit_cast<Words<Stats>>(sum);
}

} // namespace

TEST_CASE("statistics of rings: every field is added") {
    const auto words = doubled<RingStats>();
    for (std::size_t at = 0; at < words.size(); ++at) {
        CAPTURE(at);
        CHECK(words[at] == 2 * (at + 1));
    }
}

TEST_CASE("statistics of loops: every field is added, and the backend stays") {
    constexpr auto backend_at = offsetof(LoopStats, backend) / sizeof(std::uint64_t);
    const auto words = doubled<LoopStats>();
    for (std::size_t at = 0; at < words.size(); ++at) {
        CAPTURE(at);
        if (at != backend_at) CHECK(words[at] == 2 * (at + 1));
    }
    LoopStats sum{.backend = Backend::epoll};
    sum += LoopStats{.backend = Backend::io_uring};
    CHECK(sum.backend == Backend::epoll);
}
