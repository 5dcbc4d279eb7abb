// Scenarios (scenarios.hpp) in simulations, one for each seed, on several threads.

#include "scenarios.hpp"

#include "base/canary.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <utility>

using namespace ringlet::testing;

namespace {

int usage(int status) {
    std::puts(
        "usage: simulated_stress [--seeds N] [--first-seed S] [--seed S] [--threads N]\n"
        "                        [--faults all|harmless|none] [--trace] [--canary NAME]\n"
        "\n"
        "Runs a scenario in a simulation for each seed (10,000 from 1 on), until one fails. "
        "--seed\n"
        "runs one; --trace shows what happens in it. --canary, in canary_stress only, makes a\n"
        "mistake on purpose: leaked_accept, buffer_twice, dropped_receive, lost_wake_up or\n"
        "wrong_half_close.");
    return status;
}

#ifdef RINGLET_CANARIES
bool choose_canary(std::string_view name) {
    using ringlet::Canary;
    constexpr std::array<std::pair<std::string_view, Canary>, 6> canaries = {{
        {"none", Canary::none},
        {"leaked_accept", Canary::leaked_accept},
        {"buffer_twice", Canary::buffer_twice},
        {"dropped_receive", Canary::dropped_receive},
        {"lost_wake_up", Canary::lost_wake_up},
        {"wrong_half_close", Canary::wrong_half_close},
    }};
    const auto* found = std::ranges::find(canaries, name, &decltype(canaries)::value_type::first);
    if (found == canaries.end()) return false;
    ringlet::living_canary = found->second;
    return true;
}
#else
bool choose_canary(std::string_view) { return false; }
#endif

} // namespace

#ifdef RINGLET_CANARIES
ringlet::Canary ringlet::living_canary = ringlet::Canary::none;
#endif

int main(int argc, char** argv) {
    SimulateOptions options{.seeds = 10'000, .threads = std::thread::hardware_concurrency()};
    for (int at = 1; at < argc; ++at) {
        const std::string_view option = argv[at];
        if (option == "--help") return usage(0);
        if (option == "--trace") {
            options.trace = [](std::string_view line) {
                std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
            };
            continue;
        }
        const char* value = at + 1 < argc ? argv[++at] : nullptr;
        if (value == nullptr) return usage(64);
        const std::uint64_t number = std::strtoull(value, nullptr, 10);
        if (option == "--seeds") {
            options.seeds = number;
        } else if (option == "--first-seed") {
            options.first_seed = number;
        } else if (option == "--seed") {
            options.first_seed = number;
            options.seeds = 1;
        } else if (option == "--threads") {
            options.threads = static_cast<unsigned>(number);
        } else if (option == "--faults" && std::string_view(value) == "all") {
            options.faults = FaultSet::all();
        } else if (option == "--faults" && std::string_view(value) == "harmless") {
            options.faults = FaultSet::harmless();
        } else if (option == "--faults" && std::string_view(value) == "none") {
            options.faults = FaultSet::none();
        } else if (option == "--canary") {
            if (!choose_canary(value)) return usage(64);
        } else {
            return usage(64);
        }
    }
    const SimulationReport report = simulate(options, stress::run_scenario);
    std::puts(report.to_string().c_str());
    for (std::size_t index = 0; index < fault_count; ++index) {
        std::printf("  %-25s %llu\n", to_string(static_cast<Fault>(index)),
                    static_cast<unsigned long long>(report.faults[index]));
    }
    return report ? 0 : 1;
}
