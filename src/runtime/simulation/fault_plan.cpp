#include "simulation/fault_plan.hpp"

namespace ringlet::testing {

const char* to_string(Fault fault) noexcept {
    switch (fault) {
    case Fault::short_recv: return "short_recv";
    case Fault::short_send: return "short_send";
    case Fault::delayed_completion: return "delayed_completion";
    case Fault::reordered_completions: return "reordered_completions";
    case Fault::full_queue: return "full_queue";
    case Fault::interrupted: return "interrupted";
    case Fault::lost_cancel: return "lost_cancel";
    case Fault::no_buffer: return "no_buffer";
    case Fault::late_wake: return "late_wake";
    case Fault::connection_aborted: return "connection_aborted";
    case Fault::too_many_files: return "too_many_files";
    case Fault::too_many_files_in_system: return "too_many_files_in_system";
    case Fault::no_buffer_space: return "no_buffer_space";
    case Fault::no_memory: return "no_memory";
    case Fault::frame_allocation: return "frame_allocation";
    case Fault::connection_refused: return "connection_refused";
    case Fault::connection_reset: return "connection_reset";
    case Fault::broken_pipe: return "broken_pipe";
    case Fault::timed_out: return "timed_out";
    case Fault::early_end: return "early_end";
    case Fault::lost_datagram: return "lost_datagram";
    case Fault::doubled_datagram: return "doubled_datagram";
    case Fault::late_datagram: return "late_datagram";
    }
    return "?";
}

// One seed in eight has no faults: what fails there fails anywhere. In the others, each fault is
// independently absent, rare or frequent, so that each also occurs without most of the others.
// Faults that end something are rarer; otherwise nothing would live long enough to meet the rest.
FaultPlan::FaultPlan(std::uint64_t seed, FaultSet allowed) : random_(seed) {
    constexpr std::array<std::uint64_t, 6> of_harmless = {0, 0, 30, 300, 2500, 6000};
    constexpr std::array<std::uint64_t, 6> of_others = {0, 0, 0, 5, 50, 400};
    // Faults that were added later have their own generator, so that old seeds still do the same.
    std::mt19937_64 of_later_faults(~seed);
    const bool all_is_well = below(8) == 0;
    for (std::size_t index = 0; index < fault_count; ++index) {
        const auto fault = static_cast<Fault>(index);
        const auto& choices = FaultSet::harmless().has(fault) ? of_harmless : of_others;
        std::mt19937_64& choose = fault < Fault::lost_datagram ? random_ : of_later_faults;
        const std::uint64_t chosen = choices[choose() % choices.size()];
        if (allowed.has(fault) && !all_is_well) chance_[index] = chosen;
    }
}

} // namespace ringlet::testing
