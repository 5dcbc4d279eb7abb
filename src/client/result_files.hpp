#pragma once

// The files that a result is written to, for programs.

#include "hold.hpp"
#include "measurement.hpp"

#include <CLI/CLI.hpp>

#include <string>

struct ResultFiles {
    std::string json; ///< empty: none
    std::string hgrm;
    std::string hlog;
};

/// Adds `--json`, `--hgrm` and `--hlog`.
void add_result_files(CLI::App& app, ResultFiles& files);

/// Each returns the path of the file that could not be written, with errno set, or nothing.
std::string write_files(const ResultFiles& files, const Measurement& measurement);
std::string write_files(const ResultFiles& files, const HoldOptions& options,
                        const HoldResult& result);
