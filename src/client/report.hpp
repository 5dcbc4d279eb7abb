#pragma once

// The report of a run for people.

#include "hold.hpp"
#include "measurement.hpp"

/// How much of a report is printed.
enum class Extent { whole, last_line };

/// Prints the summary and, last, the classic line; on stderr whatever makes the result doubtful.
void print_report(const Measurement& measurement, Extent extent = Extent::whole);

/// The same for connections that were held.
void print_report(const HoldOptions& options, const HoldResult& result);
