#pragma once

// Which server a command line means.

#include "refusal.hpp"

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>

/// HOST as it was written: `localhost`, `10.0.0.1:3200`, `::1`, `[::1]:3200`, `unix:/PATH`.
struct Target {
    std::string host;                  ///< a name or an address; of a Unix socket all of it
    std::optional<std::uint16_t> port; ///< if one was written

    [[nodiscard]] bool is_unix() const { return host.starts_with("unix:"); }

    /// None: the text is none of these.
    static std::optional<Target> parse(const std::string& text);
};

/// What is to be loaded.
struct FoundServer {
    ringlet::Endpoint endpoint;
    /// If its name has several addresses, and none of them answered: each with why not.
    std::string others;
};

struct ServerOptions {
    std::uint16_t port = 0;
    std::chrono::milliseconds timeout{0};
    ringlet::LoopOptions loop;
};

/// Finds the address. If there are several, connects to each, as `ringlet::connect` does, and takes the first
/// that answers; if none does, the first. Returns why the program must end, if it must.
std::optional<Refusal> find_server(const Target& target, const ServerOptions& options,
                                   FoundServer& server);

/// What may be wrong, and what to do, if a connection to the server fails like this.
std::string hint(const ringlet::Endpoint& server, std::error_code failure);
