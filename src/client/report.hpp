#pragma once

// What is told of a run: to people, and to programs.

#include "hold.hpp"
#include "load.hpp"

#include <string>

/// Prints the summary and, last, the classic line.
void print_report(const LoadOptions& options, const LoadResult& result);

/// The same of connections that were held.
void print_report(const HoldOptions& options, const HoldResult& result);

/// Writes the result as JSON, or the latencies as percentiles. Returns false, with errno set, when
/// the file cannot be written.
bool write_json(const std::string& path, const LoadOptions& options, const LoadResult& result);
bool write_json(const std::string& path, const HoldOptions& options, const HoldResult& result);
bool write_hgrm(const std::string& path, const LoadResult& result);
