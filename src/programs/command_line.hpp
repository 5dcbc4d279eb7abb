#pragma once

// How the programs read their command line: the same answers to the same mistakes.

#include "output.hpp"

#include <CLI/CLI.hpp>

#include <optional>

#include <sysexits.h>

/// Calls `add_options(app)` and reads the command line. Returns the exit status if the program ends
/// here: 0 after --help and --version, 64 after a line on stderr about a bad option.
template <class AddOptions>
std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv,
                                      AddOptions add_options) {
    try {
        add_options(app);
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp& help) {
        return end_output(app.get_name().c_str(), app.exit(help));
    } catch (const CLI::CallForVersion& version) {
        return end_output(app.get_name().c_str(), app.exit(version));
    } catch (const CLI::Error& error) {
        say("{}: {} (see --help)\n", app.get_name(), error.what());
        return EX_USAGE;
    }
    return std::nullopt;
}
