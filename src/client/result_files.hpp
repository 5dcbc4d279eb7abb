#pragma once

// The files that a result is written to, for programs.

#include "hold.hpp"
#include "measurement.hpp"
#include "output_file.hpp"
#include "refusal.hpp"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

struct ResultPaths {
    std::string json; ///< empty: none
    std::string hgrm;
    std::string hlog;
};

/// Adds `--json`, `--hgrm` and `--hlog`.
void add_result_files(CLI::App& app, ResultPaths& paths);

class ResultFiles {
public:
    /// Opens all files, before anything is measured. Each returns why the program must end, if it must.
    std::optional<Refusal> open(const ResultPaths& paths);
    std::optional<Refusal> write(const Measurement& measurement);
    std::optional<Refusal> write(const HoldOptions& options, const HoldResult& result);

private:
    OutputFile json_;
    OutputFile hgrm_;
    OutputFile hlog_;
};
