#pragma once

#include <ringlet/detail/config.hpp>

#include <string_view>

namespace RINGLET_EXPORT ringlet {

/// Writes to stderr as much as there is room for, and never waits: a pipe may have no reader, or a terminal may be
/// stopped, and a loop that waited for them would serve no connection. The rest is dropped, and the next write says
/// how much was lost.
///
/// Thread    Any; texts from several threads are not mixed.
void write_error(std::string_view text) noexcept;

} // namespace ringlet
