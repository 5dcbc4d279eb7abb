#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

/// "1 error", "2 errors": for words whose plural has an s.
inline std::string counted(std::uint64_t count, const char* word) {
    return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}
