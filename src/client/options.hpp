#pragma once

// The options of a run.

#include "hold.hpp"
#include "load.hpp"
#include "result_files.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

// A message, and all that are in flight together on one connection, may have this many bytes.
inline constexpr std::uint64_t message_bytes_limit = 64 << 20;

/// The TLS options.
struct TlsRequest {
    bool is_wanted = false;
    bool insecure = false;
    bool full_handshakes = false;
    std::string authorities;
    std::string server_name;
    std::vector<std::string> protocols;
    ringlet::TlsCertificate certificate;
};

struct Settings {
    LoadOptions load;
    std::uint64_t workers = 1;
    std::string host = "127.0.0.1"; ///< as `Target::parse` reads it
    std::uint16_t port = 3200;
    bool port_is_given = false;  ///< by -p
    std::string other_addresses; ///< of the host, and why none of them answered
    ringlet::LoopOptions loop;
    std::string message_file;
    std::uint64_t size_bytes = 64;
    ResultPaths files;
    bool progress = true;
    bool quiet = false;
    HoldOptions hold;
    std::string sources;
    TlsRequest tls;
};

void add_options(CLI::App& app, Settings& settings);
