#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// One of the addresses that a server listens on.
struct ListenAddress {
    Endpoint endpoint;
    /// Of a listening socket that the service manager has opened (`fd:NAME`); empty: the server binds `endpoint`.
    std::string descriptor_name = {};
    /// One of several that a name stands for, as `localhost` does: it need not exist on this machine, if another does.
    bool is_alternative = false;
};

/// Looks up what `ServeOptions::listen` names. `serve` does that by itself; a program that wants to do something between
/// the look-up and the listening, such as to block signals, puts the answer into `ServeOptions::addresses`.
///
/// Suspends  Never: it blocks as getaddrinfo(3) does.
/// Errors    As `Endpoint::resolve_all`.
[[nodiscard]] Result<std::vector<ListenAddress>> resolve_listen(std::string_view listen);

} // namespace ringlet
