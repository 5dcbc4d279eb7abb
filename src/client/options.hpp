#pragma once

// What a user can ask of a run.

#include "hold.hpp"
#include "load.hpp"
#include "result_files.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>

// A message, and all that are in flight together on one connection, may have this many bytes.
inline constexpr std::uint64_t message_bytes_limit = 64 << 20;

struct Settings {
    LoadOptions load;
    std::string host = "127.0.0.1";
    std::uint16_t port = 3200;
    ringlet::LoopOptions loop;
    std::string message_file;
    std::uint64_t size_bytes = 64;
    ResultPaths files;
    bool progress = true;
    bool quiet = false;
    HoldOptions hold;
    std::string sources;
};

void add_options(CLI::App& app, Settings& settings);
