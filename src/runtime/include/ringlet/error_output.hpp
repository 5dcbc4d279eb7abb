#pragma once

#include <ringlet/detail/config.hpp>

#include <string_view>

namespace RINGLET_EXPORT ringlet {

/// Writes to stderr as much as somebody takes, and never waits: nobody may read from a pipe, or a terminal may be
/// stopped, and a loop that waited for that would serve nobody. What there is no room for is dropped; the next text
/// that is written says how much that was.
///
/// Thread    Any; texts of several are not mixed.
void write_error(std::string_view text) noexcept;

} // namespace ringlet
