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
    /// Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn.
    int backlog = 4096;
    /// Sends small messages at once instead of collecting them (TCP_NODELAY, tcp(7)).
    bool no_delay = true;
    /// Lets several sockets listen on the same port; the kernel spreads connections over them
    /// (SO_REUSEPORT, socket(7)).
    bool reuse_port = false;
    /// An IPv6 socket takes no IPv4 connections (IPV6_V6ONLY, ipv6(7)).
    bool v6_only = false;
    /// How the peers of accepted connections are watched: after two minutes of silence they are asked.
    Liveness liveness{.keep_alive = std::chrono::seconds(120)};
    /// The permissions of a Unix socket's file, less the umask: who may write to it may connect.
    mode_t mode = 0777;
};

/// Takes what an accept brought.
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

/// A socket that accepts connections, at a port or a Unix socket's name: what `TcpListener` and `UnixListener` have
/// in common.
///
/// Lifetime  As `StreamSocket`: dropping it while an accept is in flight is safe. A connection that was
///           accepted after all is delivered to whoever awaits it. The file of a Unix socket goes with the listener,
///           if it is still the one that it made.
/// Thread    The loop on which it is first used.
class StreamListener {
public:
    /// Binds and listens at an address of any kind: see `TcpListener::bind` and `UnixListener::bind`.
    static Result<StreamListener> bind(const Endpoint& endpoint, const ListenOptions& options = {});

    /// The same for as many loops: see `TcpListener::bind_several`. Those of a Unix socket are one queue, from which
    /// each takes when it can; with the feature multishot_accept, sometimes a little more.
    static Result<std::vector<StreamListener>>
    bind_several(const Endpoint& endpoint, std::size_t count, const ListenOptions& options = {});

    /// Takes a socket that somebody else has bound and that listens already, as a service manager has. It accepts as
    /// one that `bind` made, with the same socket options, but its backlog and its file remain as they are. Whoever
    /// else has the socket open may go on with it: a close of this listener refuses nobody then.
    ///
    /// Errors    `not_listening`, for whatever is no TCP or Unix stream socket that listens.
    static Result<StreamListener> adopt(UniqueFd socket, const ListenOptions& options = {});

    /// The same for as many loops, which take from its one queue when they can, as those of a Unix socket.
    static Result<std::vector<StreamListener>> adopt_several(UniqueFd socket, std::size_t count,
                                                             const ListenOptions& options = {});

    /// Owns nothing; every use of it aborts.
    StreamListener() noexcept = default;

    /// Waits for a connection: `auto stream = co_await listener.accept();`
    ///
    /// Thread    One accept at a time per listener (asserted).
    /// Suspends  Once.
    /// Cancel    Ends with `operation_canceled`, unless a connection came first: it is delivered.
    /// Returns   A `Result` of the stream.
    /// Errors    `too_many_files_open`, `too_many_files_open_in_system`, `no_buffer_space`,
    ///           `not_enough_memory`: pause before the next try, for the kernel fails at once as
    ///           long as it lasts. `connection_aborted`: try again.
    [[nodiscard]] AcceptAwaiter<StreamSocket> accept() { return accept_as<StreamSocket>(); }

    /// Takes connections that wait already, without waiting for one: `at_most` of them. They have descriptors of the
    /// process, also in a loop with direct ones.
    ///
    /// Thread    No accept is in flight (asserted).
    /// Suspends  Never.
    /// Returns   `Result<std::vector<StreamSocket>>`: empty if nobody waits.
    /// Errors    As `accept`, if there is none to give back.
    /// Cost      Where nobody waits, one system call.
    [[nodiscard]] Result<std::vector<StreamSocket>> accept_waiting(std::size_t at_most);

    /// The same, but only those that the kernel has accepted before they were asked for (the feature multishot_accept):
    /// they are in no queue of the listener any more, and nobody else can have them.
    [[nodiscard]] Result<std::vector<StreamSocket>> take_accepted(std::size_t at_most);
    /// From now until the next `accept`, the kernel accepts nobody before being asked.
    ///
    /// Thread    No accept is in flight.
    /// Cost      Waits until the kernel has given its request back, microseconds; nothing without multishot_accept.
    void stop_accepting() noexcept;

    /// More listeners at the same address, each for a loop of its own, as `bind_several` makes them.
    Result<std::vector<StreamListener>> several_more(std::size_t count,
                                                     const ListenOptions& options);
    /// Another descriptor of the same socket, to hand it to another program.
    [[nodiscard]] Result<UniqueFd> duplicate() const;
    /// The file of a Unix socket stays when this goes: the socket is another program's.
    void give_away() noexcept;

    /// Lets nobody new into the queue, and everybody stay who is in it, or is about to be: `accept_waiting` gives them.
    /// A new client's first packet is dropped (SO_ATTACH_FILTER, socket(7)); it sends another after a second, and is
    /// refused if the listener has been closed by then. At a Unix socket it does nothing, nor at one that was adopted:
    /// the filter would stay with those who have that socket, too.
    void refuse_new() noexcept;

    /// Stops listening and waits until an accept in flight has ended, with `operation_canceled`.
    /// See `StreamSocket::close`.
    [[nodiscard]] CloseAwaiter close();

    /// Ends an accept in flight with `operation_canceled`, unless a connection comes first.
    void cancel_accept() noexcept;

    /// The address that it listens on, with the port that the kernel chose.
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
