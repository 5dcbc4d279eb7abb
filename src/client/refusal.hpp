#pragma once

// How the program ends without a result.

#include "output.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include <sysexits.h>

/// A reason to end: the exit status, and a line for the operator.
struct Refusal {
    int status;
    std::string line;
};

inline int refuse(const Refusal& refusal) {
    say("echo_bench: {}\n", refusal.line);
    return refusal.status;
}

inline Refusal unwritten(const std::string& path) {
    return {EX_CANTCREAT, fmt::format("cannot write {}: {}", path, std::strerror(errno))};
}
