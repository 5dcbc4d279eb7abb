#pragma once

// How a connection goes from one program to the next: one message over a pair of Unix sockets, with its
// descriptor. Several may send; one receives.

#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <optional>
#include <string>
#include <utility>

namespace ringlet {

/// What came along with a connection.
struct HandedOver {
    std::string peer; ///< as `StreamSocket::set_peer` said; empty: the kernel knows it
    std::string state;
};

struct MovedConnection {
    UniqueFd fd;
    HandedOver along;
};

/// The two ends; neither waits.
Result<std::pair<UniqueFd, UniqueFd>> make_connection_channel();

/// Errors    `resource_unavailable_try_again`: it is full; `broken_pipe`: the receiver has gone.
Result<void> send_connection(int channel, int connection, const HandedOver& along);

/// Returns   Nothing at the end: every sender has gone.
/// Errors    `resource_unavailable_try_again`: there is none now; `too_many_files_open`: it stays in the
///           channel; `protocol_error`.
Result<std::optional<MovedConnection>> receive_connection(int channel);

/// Accepts no more messages than are already in it.
void end_receiving(int channel) noexcept;

} // namespace ringlet
