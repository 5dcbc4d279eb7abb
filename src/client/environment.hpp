#pragma once

// Where a result comes from: without it nobody can tell later what a number is worth.

#include <nlohmann/json.hpp>

/// This machine: processor, memory, kernel, its defences against faults of processors, and how TCP
/// paces itself. What the machine does not tell is null.
nlohmann::ordered_json describe_machine();

/// How this program was built.
nlohmann::ordered_json describe_build();
