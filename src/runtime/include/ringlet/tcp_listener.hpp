#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/socket.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/tcp_stream.hpp>

#include <cstddef>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// How a `TcpListener` listens. Accepted connections inherit the socket options.
struct ListenOptions {
    /// Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn.
    int backlog = 4096;
    /// Sends small messages at once instead of collecting them (TCP_NODELAY, tcp(7)).
    bool no_delay = true;
    /// Lets several sockets listen on the same port; the kernel spreads connections over them
    /// (SO_REUSEPORT, socket(7)).
    bool reuse_port = false;
    /// An IPv6 socket takes no IPv4 connections (IPV6_V6ONLY, ipv6(7)).
    bool v6_only = false;
};

/// A socket that accepts TCP connections.
///
/// Lifetime  As `TcpStream`: dropping it while an accept is in flight is safe. A connection that was
///           accepted after all is delivered to whoever awaits it.
/// Thread    The loop on which it is first used.
class TcpListener {
public:
    /// Binds and listens (SO_REUSEADDR is set). Port 0 takes a free one: see `local`.
    ///
    /// Suspends  Never.
    /// Errors    `address_in_use`, `permission_denied` (a port below 1024),
    ///           `address_not_available`, `too_many_files_open`.
    static Result<TcpListener> bind(const Endpoint& endpoint, const ListenOptions& options = {});

    /// Binds `count` listeners to one address, for as many loops: the kernel spreads connections over
    /// them by a hash of both addresses (SO_REUSEPORT, socket(7)). Port 0 takes one free port for all.
    ///
    /// A foreign server on the port is found as by `bind`, unless `reuse_port` asks to share with it:
    /// only the first listener comes when it is alone. Another server that shares as well may come
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

    /// Waits for a connection: `auto stream = co_await listener.accept();`
    ///
    /// Thread    One accept at a time per listener (asserted).
    /// Suspends  Once.
    /// Cancel    Ends with `operation_canceled`, unless a connection came first: it is delivered.
    /// Returns   `Result<TcpStream>`.
    /// Errors    `too_many_files_open`, `too_many_files_open_in_system`, `no_buffer_space`,
    ///           `not_enough_memory`: pause before the next try, for the kernel fails at once as
    ///           long as it lasts. `connection_aborted`: try again.
    [[nodiscard]] class AcceptAwaiter accept();

    /// Stops listening and waits until an accept in flight has ended, with `operation_canceled`.
    /// See `TcpStream::close`.
    [[nodiscard]] CloseAwaiter close();

    /// Ends an accept in flight with `operation_canceled`, unless a connection comes first.
    void cancel_accept() noexcept;

    /// The address that it listens on, with the port that the kernel chose.
    [[nodiscard]] Endpoint local() const;

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }

    /// The descriptor, for setsockopt(2) and the like. Do not close it.
    [[nodiscard]] int native_handle() const noexcept;

private:
    explicit TcpListener(SocketHandle socket) noexcept : socket_(std::move(socket)) {}
    Socket& socket() const;

    SocketHandle socket_;
};

/// What `TcpListener::accept` returns; await it at once.
class [[nodiscard]] AcceptAwaiter : public SocketAwaiter {
public:
    AcceptAwaiter(Socket& socket, Operation& operation) noexcept
        : SocketAwaiter(socket, operation) {}
    Result<TcpStream> await_resume();
};

} // namespace ringlet
