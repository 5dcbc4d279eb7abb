#pragma once

// Findings about the machine's settings: the kernel, its switches, filters and limits.

#include "finding.hpp"
#include "probes.hpp"

#include <vector>

/// The group `machine`. `best_ring`: the kernel runs completion work when the loop asks for it.
[[nodiscard]] std::vector<Finding> machine_findings(const RingAnswers& ring, bool best_ring);

/// The group `limits`.
[[nodiscard]] std::vector<Finding> limit_findings(const RingAnswers& ring);
