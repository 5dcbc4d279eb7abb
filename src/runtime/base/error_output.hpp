#pragma once

#include <string_view>

namespace ringlet {

/// Writes to stderr as much as somebody takes, and never waits: nobody may read from a pipe, or a terminal may be
/// stopped. What there is no room for is dropped; the next text that is written says how much that was.
///
/// Thread    Any; texts of several are not mixed.
void write_error(std::string_view text) noexcept;

} // namespace ringlet
