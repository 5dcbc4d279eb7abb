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
    /// Picks listening sockets that the service manager has opened: by name, by the number of one, or all if empty.
    /// Null: the server binds `endpoint`.
    std::optional<std::string> descriptor_name = {};
    /// One of several addresses of a name such as `localhost`. It need not exist on this machine if another one does.
    bool is_alternative = false;
};

/// Looks up what `ServeOptions::listen` names. `serve` does that by itself. A program that has something to do between
/// look-up and listening, such as blocking signals, puts the answer into `ServeOptions::addresses`.
///
/// Suspends  Never: it blocks as getaddrinfo(3) does.
/// Errors    As `Endpoint::resolve_all`. Whether `fd:NAME` names any sockets is checked when the server is made: the
///           previous program may have them (`ServeOptions::hand_over`).
[[nodiscard]] Result<std::vector<ListenAddress>> resolve_listen(std::string_view listen);

/// The names, in order, of the listening sockets that a service manager has opened for this process and that no server
/// has taken yet (sd_listen_fds(3), from the variables LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES).
///
/// The first call, or the first address `fd:NAME`, removes these variables, so that no child takes them for its own,
/// and sets close-on-exec on the descriptors.
///
/// Thread    Any, but no other thread may read the environment during the first call.
[[nodiscard]] std::vector<std::string> given_socket_names();

} // namespace ringlet
