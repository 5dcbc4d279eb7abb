#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/tcp_stream.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// A socket that accepts TCP connections: a `StreamListener` that gives a `TcpStream`.
class TcpListener : public StreamListener {
public:
    /// Binds and listens (SO_REUSEADDR is set). Port 0 takes a free one: see `local`.
    ///
    /// Suspends  Never.
    /// Errors    `address_in_use`, `permission_denied` (a port below 1024),
    ///           `address_not_available`, `too_many_files_open`; `address_family_not_supported` for a Unix socket.
    static Result<TcpListener> bind(const Endpoint& endpoint, const ListenOptions& options = {});

    /// Binds `count` listeners to one address, one per loop: the kernel spreads connections over them by a
    /// hash of both addresses (SO_REUSEPORT, socket(7)). Port 0 takes one free port for all.
    ///
    /// Another server on the port is detected as by `bind`, unless `reuse_port` asks to share with it:
    /// the first listener binds only if it is alone. Another server that also shares may still join
    /// later, if it belongs to the same user.
    ///
    /// When one of them is closed, the connections in its backlog are reset, unless
    /// net.ipv4.tcp_migrate_req is 1 (ip-sysctl).
    ///
    /// Suspends  Never.
    /// Errors    As `bind`.
    static Result<std::vector<TcpListener>>
    bind_several(const Endpoint& endpoint, std::size_t count, const ListenOptions& options = {});

    /// Owns nothing; every use of it aborts.
    TcpListener() noexcept = default;

    /// As `StreamListener::accept`: a `Result<TcpStream>`.
    [[nodiscard]] AcceptAwaiter<TcpStream> accept() { return accept_as<TcpStream>(); }

private:
    explicit TcpListener(StreamListener listener) noexcept : StreamListener(std::move(listener)) {}
};

} // namespace ringlet
