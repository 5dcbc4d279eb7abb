#pragma once

// The table that people read: one line for each worker, from two answers of a server.

#include "scrape.hpp"

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

/// When an answer came, in seconds: `at` on a monotonic clock, `date` since 1970.
struct Look {
    Scrape scrape;
    double at = 0;
    double date = 0;
};

inline constexpr std::size_t any_width = std::numeric_limits<std::size_t>::max();

/// Whether both are of one process, whose counters continue.
[[nodiscard]] bool is_same_server(const Look& before, const Look& now);

/// The lines, each with its newline. Without an earlier look there are no rates. If `columns` is too narrow, the
/// least important columns are left out.
[[nodiscard]] std::string to_table(std::string_view address, const Look* before, const Look& now,
                                   std::size_t columns = any_width);
