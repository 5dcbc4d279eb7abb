#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// One of the addresses that a server listens on.
struct ListenAddress {
    Endpoint endpoint;
    /// Of listening sockets that the service manager has opened: their name, the number of one, or empty for all. Null:
    /// the server binds `endpoint`.
    std::optional<std::string> descriptor_name = {};
    /// One of several that a name stands for, as `localhost` does: it need not exist on this machine, if another does.
    bool is_alternative = false;
};

/// Looks up what `ServeOptions::listen` names. `serve` does that by itself; a program that wants to do something between
/// the look-up and the listening, such as to block signals, puts the answer into `ServeOptions::addresses`.
///
/// Suspends  Never: it blocks as getaddrinfo(3) does.
/// Errors    As `Endpoint::resolve_all`. Whether there are sockets that `fd:NAME` stands for is seen when the server is
///           made: the program before may have them (`ServeOptions::hand_over`).
[[nodiscard]] Result<std::vector<ListenAddress>> resolve_listen(std::string_view listen);

/// The names of the listening sockets that a service manager has opened for this process and that no server has taken
/// yet, in their order (sd_listen_fds(3), by the variables LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES).
///
/// The first call, or the first address `fd:NAME`, removes these variables, so that no child takes them for its own,
/// and has the descriptors closed on exec.
///
/// Thread    Any, but no other thread may look at the environment during the first call.
[[nodiscard]] std::vector<std::string> given_socket_names();

} // namespace ringlet
