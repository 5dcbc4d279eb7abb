#pragma once

#include <cstddef>
#include <string>

/// Reads a whole file, or, of one that is larger, a little more than the limit. Returns false, with errno
/// set, if that fails.
bool read_file(const std::string& path, std::size_t limit_bytes, std::string& text);
