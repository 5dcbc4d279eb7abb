#pragma once

// The one option type that the programs share: a time with its unit.

#include <CLI/CLI.hpp>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

/// Adds an option that takes a duration such as 500ms, 10s or 2min, from `least` to 24 hours.
inline CLI::Option* add_duration(CLI::App& app, const std::string& name,
                                 std::chrono::milliseconds& value, std::chrono::milliseconds least,
                                 const std::string& description) {
    const auto read = [&value, least, name](const std::string& text) {
        constexpr std::chrono::milliseconds most = std::chrono::hours(24);
        std::int64_t count = 0;
        const char* end = text.data() + text.size();
        const auto [rest, failure] = std::from_chars(text.data(), end, count);
        const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
        const std::int64_t unit_ms = unit == "ms"    ? 1
                                     : unit == "s"   ? 1000
                                     : unit == "min" ? 60'000
                                                     : 0;
        if (failure != std::errc{} || unit_ms == 0) {
            throw CLI::ValidationError(name, "'" + text + "' is no time: write 500ms, 10s or 2min");
        }
        if (count < 0 || count > most.count() / unit_ms || count * unit_ms < least.count()) {
            throw CLI::ValidationError(name, "'" + text + "' is not between " +
                                                 std::to_string(least.count()) + "ms and 24 hours");
        }
        value = std::chrono::milliseconds(count * unit_ms);
    };
    return app.add_option_function<std::string>(name, read, description)->type_name("TIME");
}
