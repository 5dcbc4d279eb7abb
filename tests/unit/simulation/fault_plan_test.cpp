#include "simulation/fault_plan.hpp"

#include "support.hpp"

#include <cstdint>
#include <numeric>
#include <vector>

using namespace ringlet::testing;

namespace {

Fault fault_at(std::size_t index) { return static_cast<Fault>(index); }

std::vector<bool> strikes_of(FaultPlan plan, int rounds = 200) {
    std::vector<bool> struck;
    for (int round = 0; round < rounds; ++round) {
        for (std::size_t index = 0; index < fault_count; ++index) {
            struck.push_back(plan.strikes(fault_at(index)));
        }
    }
    return struck;
}

bool can_strike_at_all(const FaultPlan& plan) {
    for (std::size_t index = 0; index < fault_count; ++index) {
        if (plan.can_strike(fault_at(index))) return true;
    }
    return false;
}

} // namespace

TEST_CASE("the same seed makes the same plan, and other seeds make other plans") {
    std::vector<bool> last;
    int different = 0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const auto struck = strikes_of(FaultPlan(seed, FaultSet::all()));
        CHECK(struck == strikes_of(FaultPlan(seed, FaultSet::all())));
        different += struck != last ? 1 : 0;
        last = struck;
    }
    CHECK(different >= 40);
    FaultPlan one(7, FaultSet::none());
    FaultPlan other(7, FaultSet::none());
    for (int i = 0; i < 100; ++i) CHECK(one.below(1'000'000) == other.below(1'000'000));
}

TEST_CASE("allowing a fault does not change the plan for the others") {
    const FaultSet without = FaultSet::all().without(Fault::early_end);
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const FaultPlan all(seed, FaultSet::all());
        const FaultPlan fewer(seed, without);
        for (std::size_t index = 0; index < fault_count; ++index) {
            const bool expected = without.has(fault_at(index)) && all.can_strike(fault_at(index));
            CHECK(fewer.can_strike(fault_at(index)) == expected);
        }
    }
}

TEST_CASE("a fault strikes only if it is allowed and the plan includes it") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        const FaultSet allowed{fault_at(seed % fault_count),
                               fault_at((seed * 7 + 3) % fault_count)};
        FaultPlan plan(seed, allowed);
        for (int round = 0; round < 200; ++round) {
            for (std::size_t index = 0; index < fault_count; ++index) {
                const bool struck = plan.strikes(fault_at(index));
                CHECK((!struck ||
                       (allowed.has(fault_at(index)) && plan.can_strike(fault_at(index)))));
            }
        }
    }
}

TEST_CASE("every fault in a plan strikes, and is counted each time") {
    std::vector<int> plans_with(fault_count);
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        FaultPlan plan(seed, FaultSet::all());
        for (std::size_t index = 0; index < fault_count; ++index) {
            if (!plan.can_strike(fault_at(index))) continue;
            ++plans_with[index];
            // The rarest strikes five times in ten thousand.
            std::uint64_t struck = 0;
            for (int i = 0; i < 40'000; ++i) struck += plan.strikes(fault_at(index)) ? 1U : 0U;
            CHECK(struck > 0);
            CHECK(plan.counts()[index] == struck);
        }
    }
    for (std::size_t index = 0; index < fault_count; ++index) {
        CHECK_MESSAGE(plans_with[index] > 50, to_string(fault_at(index)));
        CHECK_MESSAGE(plans_with[index] < 250, to_string(fault_at(index)));
    }
}

TEST_CASE("about one seed in eight has no fault at all") {
    int quiet = 0;
    for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
        quiet += can_strike_at_all(FaultPlan(seed, FaultSet::all())) ? 0 : 1;
    }
    CHECK(quiet > 4000 / 10);
    CHECK(quiet < 4000 / 6);
}

TEST_CASE("with no fault allowed none strikes, but a noted one still counts") {
    FaultPlan plan(3, FaultSet::none());
    CHECK_FALSE(can_strike_at_all(plan));
    for (int i = 0; i < 1000; ++i) CHECK_FALSE(plan.strikes(Fault::short_recv));
    plan.note(Fault::full_queue);
    plan.note(Fault::full_queue);
    const auto& counts = plan.counts();
    CHECK(counts[static_cast<std::size_t>(Fault::full_queue)] == 2);
    CHECK(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) == 2);
}

TEST_CASE("random numbers are below their limit, and each of them occurs") {
    FaultPlan plan(11, FaultSet::all());
    std::vector<int> seen(7);
    for (int i = 0; i < 700; ++i) ++seen.at(plan.below(7));
    for (const int count : seen) CHECK(count > 50);
    CHECK(plan.below(1) == 0);
}
