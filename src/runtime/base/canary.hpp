#pragma once

// Deliberate mistakes, to see that the simulation finds them. A released library has none: only
// files compiled with RINGLET_CANARIES, for one test program, do.

#include <cstdint>

namespace ringlet {

enum class Canary : std::uint8_t {
    none,
    leaked_accept,   ///< an accept that was cancelled and yet succeeded keeps its socket for itself
    buffer_twice,    ///< a receive that was faster than its cancellation gives its buffer back, too
    dropped_receive, ///< a receive that was faster than its cancellation loses its bytes
    lost_wake_up,    ///< a task sleeps although its operation has been answered already
    wrong_half_close ///< the end of sending ends receiving, too
};

#ifdef RINGLET_CANARIES
/// The active one; set by the test program.
extern Canary living_canary;

[[nodiscard]] inline bool lives(Canary canary) noexcept { return living_canary == canary; }
#else
[[nodiscard]] constexpr bool lives(Canary) noexcept { return false; }
#endif

} // namespace ringlet
