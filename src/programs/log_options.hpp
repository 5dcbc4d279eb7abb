#pragma once

// The options that choose what a program logs, and how.

#include <ringlet/log.hpp>

#include <CLI/CLI.hpp>

#include <string>

/// Adds `--log-level` and `--log-format`. Without the second, lines are for a terminal: the program's name, and no
/// time.
inline void add_log_options(CLI::App& app, ringlet::LogOptions& options) {
    options.level = ringlet::LogLevel::warning;
    options.prefix = app.get_name() + ": ";
    options.text_with_time = false;
    const auto read_level = [&options](const std::string& text) {
        const auto level = ringlet::parse_log_level(text);
        if (!level) {
            throw CLI::ValidationError(
                "--log-level",
                "'" + text + "' is no level: write error, warning, notice, info or debug");
        }
        options.level = *level;
    };
    const auto read_format = [&options](const std::string& text) {
        const auto format = ringlet::parse_log_format(text);
        if (!format) {
            throw CLI::ValidationError("--log-format",
                                       "'" + text + "' is no format: write text, logfmt or json");
        }
        options.format = *format;
        options.prefix.clear();
        options.text_with_time = true;
    };
    app.add_option_function<std::string>(
           "--log-level", read_level,
           "What is written to stderr: notice adds when it listens, stops, and pauses or resumes\n"
           "accepting; debug adds each connection; default warning")
        ->type_name("error|warning|notice|info|debug");
    app.add_option_function<std::string>(
           "--log-format", read_format,
           "Lines with their time in UTC (under systemd a priority instead) and their level.\n"
           "Default: only the name of the program in front of the message")
        ->type_name("text|logfmt|json");
}
