#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/liveness.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/unique_fd.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace ringlet { // not exported
class SocketFile;
class TakeOver;
} // namespace ringlet

namespace RINGLET_EXPORT ringlet {

/// How a listener listens. Accepted connections inherit the socket options.
struct ListenOptions {
    /// How many connections may wait to be accepted; the kernel caps it at net.core.somaxconn.
    int backlog = 4096;
    /// Sends small messages at once instead of collecting them (TCP_NODELAY, tcp(7)).
    bool no_delay = true;
    /// Lets several sockets listen on the same port; the kernel spreads connections over them
    /// (SO_REUSEPORT, socket(7)).
    bool reuse_port = false;
    /// An IPv6 socket takes no IPv4 connections (IPV6_V6ONLY, ipv6(7)).
    bool v6_only = false;
    /// How the peers of accepted connections are monitored: by default they are probed after two minutes of silence.
    Liveness liveness{.keep_alive = std::chrono::seconds(120)};
    /// The permissions of a Unix socket's file, less the umask. Any user who may write to it may connect.
    mode_t mode = 0777;
};

/// Takes the socket that an accept produced.
class AcceptedSocket : public SocketAwaiter {
protected:
    AcceptedSocket(Socket& socket, Operation& operation) noexcept
        : SocketAwaiter(socket, operation) {}
    Result<SocketHandle> take_socket();
};

/// What `accept` returns; await it at once.
template <class Stream>
class [[nodiscard]] AcceptAwaiter final : public AcceptedSocket {
public:
    AcceptAwaiter(Socket& socket, Operation& operation) noexcept
        : AcceptedSocket(socket, operation) {}
    Result<Stream> await_resume() {
        auto accepted = take_socket();
        if (!accepted) return accepted.error();
        return Stream(std::move(*accepted));
    }
};

/// A socket that accepts connections at a port or at a Unix socket's name: the common part of `TcpListener` and
/// `UnixListener`.
///
/// Lifetime  As `StreamSocket`: dropping it while an accept is in flight is safe. If that accept still gets a
///           connection, it is delivered to the waiting task. A Unix socket's file is removed with the listener,
///           provided it is still the one that the listener created.
/// Thread    The loop on which it is first used.
class StreamListener {
public:
    /// Binds and listens at an address of any kind: see `TcpListener::bind` and `UnixListener::bind`.
    static Result<StreamListener> bind(const Endpoint& endpoint, const ListenOptions& options = {});

    /// The same for `count` loops: see `TcpListener::bind_several`. The listeners of a Unix socket share one queue,
    /// from which each accepts when it can; with the feature multishot_accept, sometimes slightly ahead.
    static Result<std::vector<StreamListener>>
    bind_several(const Endpoint& endpoint, std::size_t count, const ListenOptions& options = {});

    /// Takes over a listening socket that another program has bound, such as a service manager. It accepts like one
    /// made by `bind`, with the same socket options, but keeps its backlog and its file. Other programs that have
    /// the socket open can keep using it; closing this listener then refuses no client.
    ///
    /// Errors    `not_listening` for anything other than a listening TCP or Unix stream socket.
    static Result<StreamListener> adopt(UniqueFd socket, const ListenOptions& options = {});

    /// The same for `count` loops. They share the one queue and accept when they can, as for a Unix socket.
    static Result<std::vector<StreamListener>> adopt_several(UniqueFd socket, std::size_t count,
                                                             const ListenOptions& options = {});

    /// Owns nothing; every use of it aborts.
    StreamListener() noexcept = default;

    /// Waits for a connection: `auto stream = co_await listener.accept();`
    ///
    /// Thread    One accept at a time per listener (asserted).
    /// Suspends  Once.
    /// Cancel    Ends with `operation_canceled`, unless a connection came first; that is delivered.
    /// Returns   A `Result` of the stream.
    /// Errors    `too_many_files_open`, `too_many_files_open_in_system`, `no_buffer_space`,
    ///           `not_enough_memory`: pause before you try again, as the kernel fails at once for as
    ///           long as the shortage lasts. `connection_aborted`: try again.
    [[nodiscard]] AcceptAwaiter<StreamSocket> accept() { return accept_as<StreamSocket>(); }

    /// Accepts up to `at_most` connections that are already waiting, and waits for none. They have ordinary
    /// descriptors, even in a loop with direct ones.
    ///
    /// Thread    No accept is in flight (asserted).
    /// Suspends  Never.
    /// Returns   `Result<std::vector<StreamSocket>>`: empty if no client is waiting.
    /// Errors    As `accept`, but only if there is no connection to return.
    /// Cost      If no client is waiting, one system call.
    [[nodiscard]] Result<std::vector<StreamSocket>> accept_waiting(std::size_t at_most);

    /// The same, but only connections that the kernel has accepted ahead of time (the feature multishot_accept): they
    /// have left the listener's queue, so no other listener can get them.
    [[nodiscard]] Result<std::vector<StreamSocket>> take_accepted(std::size_t at_most);
    /// Stops the kernel from accepting ahead of time until the next `accept`.
    ///
    /// Thread    No accept is in flight.
    /// Cost      Waits microseconds until the kernel has returned its request; nothing without multishot_accept.
    void stop_accepting() noexcept;

    /// Adds listeners at the same address, each for its own loop, as `bind_several` makes them.
    Result<std::vector<StreamListener>> several_more(std::size_t count,
                                                     const ListenOptions& options);
    /// Another descriptor for the same socket, to pass to another program.
    [[nodiscard]] Result<UniqueFd> duplicate() const;
    /// Leaves the file of a Unix socket in place when this listener goes: the socket now belongs to another program.
    void give_away() noexcept;

    /// Lets no new client into the queue. Clients in the queue, or about to enter it, stay: get them with
    /// `accept_waiting`. A new client's first packet is dropped (SO_ATTACH_FILTER, socket(7)); the client retransmits
    /// after a second, and is refused if the listener has been closed by then. Does nothing for a Unix socket, nor
    /// for an adopted one, since the filter would also affect other programs that have that socket.
    void refuse_new() noexcept;

    /// Stops listening and waits until an accept in flight has ended with `operation_canceled`.
    /// See `StreamSocket::close`.
    [[nodiscard]] CloseAwaiter close();

    /// Ends an accept in flight with `operation_canceled`, unless a connection comes first.
    void cancel_accept() noexcept;

    /// The address it listens on, with the port that the kernel chose.
    [[nodiscard]] Endpoint local() const;

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }

    /// The descriptor, for setsockopt(2) and the like. Do not close it.
    [[nodiscard]] int native_handle() const noexcept;

protected:
    template <class Stream>
    [[nodiscard]] AcceptAwaiter<Stream> accept_as() {
        Socket& socket = prepare_accept();
        return {socket, inbound_of(socket)};
    }

private:
    friend class TcpListener;
    friend class UnixListener;
    friend class TakeOver;

    explicit StreamListener(SocketHandle socket) noexcept : socket_(std::move(socket)) {}
    static Result<StreamListener> bind_unix(const Endpoint& endpoint, const ListenOptions& options);
    static Result<StreamListener> take_over(UniqueFd socket);
    static Result<StreamListener> bind_tcp(const Endpoint& endpoint, const ListenOptions& options);
    static Result<std::vector<StreamListener>> share_out(StreamListener first, std::size_t count);
    Result<StreamListener> share() const;
    Socket& socket() const;
    Socket& prepare_accept();
    static Operation& inbound_of(Socket& socket) noexcept;

    SocketHandle socket_;
    std::shared_ptr<SocketFile> file_;
    std::shared_ptr<std::mutex> queue_; // of listeners that share one: for `accept_waiting`
    bool is_adopted_ = false;
};

} // namespace ringlet
