#pragma once

// Many connections that are held at the same time, by as many processes as their descriptors need.

#include "holder.hpp"
#include "interruption.hpp"

#include <cstdint>
#include <optional>
#include <string>

struct HoldResult {
    HoldCount total;         ///< over all processes; its first error is the earliest
    std::string first_error; ///< in words for an operator
    std::size_t processes = 0;
    double open_seconds = 0; ///< until the last one was held, or had failed
    /// In bytes; empty if unknown.
    std::optional<double> server_user_bytes_per_connection;
    std::optional<double> kernel_bytes_per_connection; ///< both ends of it

    bool interrupted = false; ///< by a signal, before all was done

    std::string fatal; ///< why there is no result
    int fatal_status = 0;
};

/// Opens the connections, echoes on each, holds them, echoes again, and closes them. A signal ends it early.
/// The processes that hold them have ended when it returns.
HoldResult run_hold(const HoldOptions& options, Interruption& interruption);
