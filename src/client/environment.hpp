#pragma once

// Where a result comes from: without it a number cannot be judged later.

#include <nlohmann/json.hpp>

/// This machine: processor, memory, kernel, its mitigations of processor flaws, and how TCP paces
/// itself. What is unknown is null.
nlohmann::ordered_json describe_machine();

/// How this program was built.
nlohmann::ordered_json describe_build();
