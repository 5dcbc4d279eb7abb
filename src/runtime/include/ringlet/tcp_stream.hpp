#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/liveness.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/unique_fd.hpp>

#include <coroutine>
#include <optional>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// How a `TcpStream` connects.
struct ConnectOptions {
    /// Sends small messages at once instead of collecting them (TCP_NODELAY, tcp(7)).
    bool no_delay = true;
    /// The address and port to connect from. Port 0: the kernel chooses.
    std::optional<Endpoint> from = {};
    /// As `TcpStream::limit_idle_time`, from the first packet on, so connecting is limited, too.
    bool limit_idle_time = false;
    /// How the peer is monitored.
    Liveness liveness = {};
};

/// A TCP connection, IPv4 or IPv6: a `StreamSocket` that can connect.
class TcpStream : public StreamSocket {
public:
    /// Owns nothing; every use of it aborts.
    TcpStream() noexcept = default;

    /// Takes over a socket: see `StreamSocket`.
    explicit TcpStream(UniqueFd fd) : StreamSocket(std::move(fd)) {}
    /// From a connection known to be TCP.
    explicit TcpStream(StreamSocket socket) noexcept : StreamSocket(std::move(socket)) {}

    /// Connects: `auto stream = co_await TcpStream::connect(endpoint);` By name: `connect(name)`.
    ///
    /// Suspends  Until the connection is established or has failed.
    /// Returns   `Result<TcpStream>`.
    /// Errors    `connection_refused`, `timed_out`, `network_unreachable`,
    ///           `address_not_available`; `connected_to_itself`, if no listener is there and the kernel chose the
    ///           same port for this side; any other errno unchanged.
    [[nodiscard]] static class ConnectAwaiter connect(const Endpoint& peer,
                                                      const ConnectOptions& options = {});

private:
    template <class Stream>
    friend class AcceptAwaiter;
    friend class ConnectAwaiter;
    explicit TcpStream(SocketHandle socket) noexcept : StreamSocket(std::move(socket)) {}
};

/// What `TcpStream::connect` returns; await it at once.
class [[nodiscard]] ConnectAwaiter final : public ConnectingSocket {
public:
    ConnectAwaiter(const Endpoint& peer, const ConnectOptions& options);
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend(scope_of(waiter), waiter);
    }
    Result<TcpStream> await_resume();
};

} // namespace ringlet
