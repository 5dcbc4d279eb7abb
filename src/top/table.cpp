#include "table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr std::string_view nothing = "-";

// Four digits at most, as people compare them.
std::string to_text(double number) {
    if (number >= 0 && number < 9.95 && std::floor(number) != number)
        return fmt::format("{:.1f}", number);
    constexpr std::array units{"", "k", "M", "G", "T", "P"};
    std::size_t unit = 0;
    if (number >= 9999.5) {
        do {
            number /= 1000;
            ++unit;
        } while (number >= 999.5 && unit + 1 < units.size());
    }
    return fmt::format("{:.{}f}{}", number, unit > 0 && number < 99.95 ? 1 : 0, units[unit]);
}

std::string to_time(std::optional<double> seconds) {
    if (!seconds) return std::string(nothing);
    constexpr std::array<std::pair<double, const char*>, 3> units{
        {{1e-6, "us"}, {1e-3, "ms"}, {1.0, "s"}}};
    for (const auto& [unit, name] : units) {
        const double number = *seconds / unit;
        if (number < 9.95) return fmt::format("{:.1f}{}", number, name);
        if (number < 999.5 || unit == 1.0) return fmt::format("{:.0f}{}", number, name);
    }
    return std::string(nothing);
}

std::string to_age(double seconds) {
    const auto whole = static_cast<std::uint64_t>(std::max(seconds, 0.0));
    const std::uint64_t days = whole / 86'400;
    return fmt::format("{}{:02}:{:02}:{:02}", days > 0 ? fmt::format("{}d ", days) : "",
                       whole / 3600 % 24, whole / 60 % 60, whole % 60);
}

// The content of one line of the table.
struct Row {
    std::string name;
    std::string state;
    std::string backend;
    bool answers = true;
    Numbers now;
    std::optional<Numbers> before; // none: there is nothing to compare with
    double seconds = 1;            // since then
    Histogram turns;
    Histogram waits;
};

struct Column {
    std::string_view title;
    int rank; // those with the highest are left out first
    std::string (*read)(const Row& row);
};

std::string gauge(const Row& row, std::string_view name) {
    const auto number = find_number(row.now, name);
    return number ? to_text(*number) : std::string(nothing);
}

std::string rate(const Row& row, std::string_view name) {
    if (!row.before) return std::string(nothing);
    const auto now = find_number(row.now, name);
    const auto then = find_number(*row.before, name);
    if (!now || !then) return std::string(nothing);
    return to_text(std::max(*now - *then, 0.0) / row.seconds);
}

constexpr std::array columns_of_table{
    Column{"worker", 0, [](const Row& row) { return row.name; }},
    Column{"state", 0, [](const Row& row) { return row.state; }},
    Column{"backend", 6, [](const Row& row) { return row.backend; }},
    Column{"conns", 0, [](const Row& row) { return gauge(row, "ringlet_connections"); }},
    Column{"accept/s", 0,
           [](const Row& row) { return rate(row, "ringlet_connections_accepted_total"); }},
    Column{"pause/s", 2, [](const Row& row) { return rate(row, "ringlet_accept_pauses_total"); }},
    Column{"fail/s", 5,
           [](const Row& row) { return rate(row, "ringlet_connections_failed_total"); }},
    Column{"turns/s", 3, [](const Row& row) { return rate(row, "ringlet_turns_total"); }},
    Column{"turn50", 4, [](const Row& row) { return to_time(row.turns.quantile(0.5)); }},
    Column{"turn99", 1, [](const Row& row) { return to_time(row.turns.quantile(0.99)); }},
    Column{"wait50", 4, [](const Row& row) { return to_time(row.waits.quantile(0.5)); }},
    Column{"wait99", 1, [](const Row& row) { return to_time(row.waits.quantile(0.99)); }},
    Column{"recv/s", 7, [](const Row& row) { return rate(row, "ringlet_received_bytes_total"); }},
    Column{"sent/s", 7, [](const Row& row) { return rate(row, "ringlet_sent_bytes_total"); }},
    Column{"tasks", 5, [](const Row& row) { return gauge(row, "ringlet_tasks"); }},
    Column{"flight", 8, [](const Row& row) { return gauge(row, "ringlet_operations_in_flight"); }},
    Column{"lent", 6, [](const Row& row) { return gauge(row, "ringlet_buffers_lent"); }},
    Column{"overfl", 8,
           [](const Row& row) { return gauge(row, "ringlet_completion_overflows_total"); }},
};

Row row_of(unsigned worker, const WorkerNumbers& now, const WorkerNumbers* before, double seconds) {
    Row row;
    row.name = std::to_string(worker);
    row.answers = now.answers;
    row.state = !now.answers ? "stuck" : now.phase == "accepting" ? "ready" : now.phase;
    row.backend = now.backend.empty() ? std::string(nothing) : now.backend;
    row.now = now.numbers;
    row.seconds = seconds;
    if (before == nullptr || !before->answers || !now.answers) return row;
    row.before = before->numbers;
    row.turns = now.turns.since(before->turns);
    row.waits = now.waits.since(before->waits);
    return row;
}

void add(Numbers& sum, const Numbers& one) {
    for (const auto& [name, number] : one) sum[name] += number;
}

// Sums the workers that answer.
Row sum_of(const std::vector<Row>& rows) {
    Row sum;
    sum.name = "all";
    for (const Row& row : rows) {
        if (!row.answers) continue;
        const bool differs = !sum.state.empty() && sum.state != row.state;
        sum.state = differs ? "mixed" : row.state;
        sum.backend = sum.backend.empty() || sum.backend == row.backend ? row.backend : "mixed";
        sum.seconds = row.seconds;
        add(sum.now, row.now);
        if (!row.before) continue;
        if (!sum.before) sum.before.emplace();
        add(*sum.before, *row.before);
        sum.turns.add(row.turns);
        sum.waits.add(row.waits);
    }
    // A rate needs both looks of every worker.
    if (std::ranges::any_of(rows, [](const Row& row) { return row.answers && !row.before; }))
        sum.before.reset();
    if (sum.state.empty()) sum.state = sum.backend = std::string(nothing);
    return sum;
}

std::string title_of(std::string_view address, const Look* before, const Look& now,
                     const std::vector<Row>& rows) {
    std::string text = fmt::format("{}  ringlet {}", address, now.scrape.version);
    if (const auto start = find_number(now.scrape.numbers, "process_start_time_seconds"))
        text += fmt::format(", up {}", to_age(now.date - *start));
    text += fmt::format(", {} worker{}", rows.size(), rows.size() == 1 ? "" : "s");
    double connections = 0;
    for (const Row& row : rows)
        connections += find_number(row.now, "ringlet_connections").value_or(0);
    text += fmt::format(", {:.0f}", connections);
    if (const auto limit = find_number(now.scrape.numbers, "ringlet_connections_limit"))
        text += fmt::format(" of {:.0f}", *limit);
    text += " connections";
    constexpr std::string_view cpu = "process_cpu_seconds_total";
    const auto used = find_number(now.scrape.numbers, cpu);
    if (before != nullptr && used && now.at > before->at) {
        const double then = find_number(before->scrape.numbers, cpu).value_or(*used);
        text += fmt::format(", CPU {:.0f} %", 100 * (*used - then) / (now.at - before->at));
    }
    return text;
}

} // namespace

bool is_same_server(const Look& before, const Look& now) {
    constexpr std::string_view start = "process_start_time_seconds";
    constexpr std::string_view cpu = "process_cpu_seconds_total";
    const auto then = find_number(before.scrape.numbers, start);
    const auto later = find_number(now.scrape.numbers, start);
    if (then && later && *then != *later) return false;
    return find_number(now.scrape.numbers, cpu).value_or(0) >=
           find_number(before.scrape.numbers, cpu).value_or(0);
}

std::string to_table(std::string_view address, const Look* before, const Look& now,
                     std::size_t columns) {
    if (before != nullptr && !is_same_server(*before, now)) before = nullptr;
    std::vector<Row> rows;
    for (const auto& [worker, numbers] : now.scrape.workers) {
        const WorkerNumbers* then = nullptr;
        if (before != nullptr) {
            const auto found = before->scrape.workers.find(worker);
            if (found != before->scrape.workers.end()) then = &found->second;
        }
        const double seconds = then != nullptr ? std::max(now.at - before->at, 1e-3) : 1;
        rows.push_back(row_of(worker, numbers, then, seconds));
    }
    const std::string title = title_of(address, before, now, rows);
    if (rows.size() > 1) rows.push_back(sum_of(rows));

    struct Shown {
        const Column* column;
        std::vector<std::string> cells;
        std::size_t width;
    };
    std::vector<Shown> shown;
    std::size_t width = 0;
    for (const Column& column : columns_of_table) {
        Shown one{.column = &column, .cells = {}, .width = column.title.size()};
        for (const Row& row : rows) {
            one.cells.push_back(row.answers || column.rank == 0 ? column.read(row)
                                                                : std::string(nothing));
            one.width = std::max(one.width, one.cells.back().size());
        }
        width += one.width + (shown.empty() ? 0 : 2);
        shown.push_back(std::move(one));
    }
    while (width > columns) {
        const auto least =
            std::ranges::max_element(shown, {}, [](const Shown& one) { return one.column->rank; });
        if (least->column->rank == 0) break;
        width -= least->width + 2;
        shown.erase(least);
    }
    std::string text = title + "\n";
    for (std::size_t line = 0; line <= rows.size(); ++line) {
        std::string_view gap;
        for (const Shown& one : shown) {
            const std::string_view cell =
                line == 0 ? one.column->title : std::string_view(one.cells[line - 1]);
            text += fmt::format("{}{:>{}}", gap, cell, one.width);
            gap = "  ";
        }
        text += "\n";
    }
    return text;
}
