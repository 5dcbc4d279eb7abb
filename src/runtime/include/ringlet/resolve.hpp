#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>

#include <string>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// Finds all addresses of HOST:PORT: `auto endpoints = co_await resolve("example.org:443");` A numeric address needs
/// no name server and no thread. Hosts, search domains and the like are this machine's (getaddrinfo(3)).
///
/// Suspends  While a thread of `LoopOptions::blocking_threads` does the look-up. In a simulation only numbers and
///           localhost have an address.
/// Cancel    Ends with `operation_canceled` at once.
/// Returns   `Result<std::vector<Endpoint>>`, not empty, in the order to try them (RFC 6724).
/// Errors    `unknown_host`, `invalid_endpoint`.
[[nodiscard]] Task<Result<std::vector<Endpoint>>> resolve(std::string host_and_port);

} // namespace ringlet
