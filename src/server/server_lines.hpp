#pragma once

// What echo_coro prints when it starts, and when it has ended.

#include <ringlet/log.hpp>
#include <ringlet/workers.hpp>

#include <cstddef>

void print_start(const ringlet::Workers& workers, bool given, bool pinned, bool tls,
                 std::size_t descriptors);

/// Warns if fewer connections are served at once than were asked for.
void warn_of_limit(ringlet::Log& log, const ringlet::Workers& workers, std::size_t wanted,
                   std::size_t descriptors);

void print_end(const ringlet::ServeReport& report);
