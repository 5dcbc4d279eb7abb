#pragma once

// What goes wrong in one simulation, and when: all of it follows from the seed.

#include <ringlet/testing/fault.hpp>

#include <cstdint>
#include <random>

namespace ringlet::testing {

/// The seed chooses for each allowed fault whether it strikes at all, and how often.
class FaultPlan {
public:
    FaultPlan(std::uint64_t seed, FaultSet allowed);

    /// Whether a fault strikes here and now. Counts it.
    [[nodiscard]] bool strikes(Fault fault) {
        const auto index = static_cast<std::size_t>(fault);
        if (chance_[index] == 0 || below(chances) >= chance_[index]) return false;
        ++counts_[index];
        return true;
    }

    /// Counts a fault that happens by itself.
    void note(Fault fault) { ++counts_[static_cast<std::size_t>(fault)]; }

    /// Whether a fault can strike in this simulation.
    [[nodiscard]] bool can_strike(Fault fault) const noexcept {
        return chance_[static_cast<std::size_t>(fault)] != 0;
    }

    /// A number from 0 up to, not including, `limit`, which is not 0.
    [[nodiscard]] std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

    [[nodiscard]] const FaultCounts& counts() const noexcept { return counts_; }

private:
    static constexpr std::uint64_t chances = 10'000;

    std::mt19937_64 random_;
    std::array<std::uint64_t, fault_count> chance_{}; // of `chances`
    FaultCounts counts_{};
};

} // namespace ringlet::testing
