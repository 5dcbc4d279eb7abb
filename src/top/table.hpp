#pragma once

// The table that people read: one line for each worker, from two answers of a server.

#include "scrape.hpp"

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

/// When an answer came, in seconds: `at` on a clock that only goes on, `date` since 1970.
struct Look {
    Scrape scrape;
    double at = 0;
    double date = 0;
};

inline constexpr std::size_t any_width = std::numeric_limits<std::size_t>::max();

/// Whether both are of one process: its counters go on.
[[nodiscard]] bool is_same_server(const Look& before, const Look& now);

/// The lines, each with its end. Without an earlier look there are no rates. Of what does not fit into `columns` the
/// least important is left out.
[[nodiscard]] std::string to_table(std::string_view address, const Look* before, const Look& now,
                                   std::size_t columns = any_width);
