#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/socket.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// How a `TcpStream` connects.
struct ConnectOptions {
    /// Sends small messages at once instead of collecting them (TCP_NODELAY, tcp(7)).
    bool no_delay = true;
    /// The address and port to connect from. Port 0: the kernel chooses.
    std::optional<Endpoint> from = {};
    /// As `TcpStream::limit_idle_time`, from the first packet on: also the connecting is limited.
    bool limit_idle_time = false;
};

/// A TCP connection, IPv4 or IPv6.
///
/// Lifetime  Owns the socket. Dropping it closes the connection: an operation that another
///           coroutine
///           has in flight on it is cancelled, and the descriptor and everything that the kernel
///           may write to stay until the kernel has answered. Move-only, also while operations are
///           in flight.
/// Thread    The loop on which it is first used.
/// Errors    Every operation may also end with `operation_canceled`, when the loop is being left or
///           the stream was closed.
class TcpStream {
public:
    /// Owns nothing; every use of it aborts.
    TcpStream() noexcept = default;

    /// Connects: `auto stream = co_await TcpStream::connect(endpoint);`
    ///
    /// Suspends  Until the connection stands or has failed.
    /// Returns   `Result<TcpStream>`.
    /// Errors    `connection_refused`, `timed_out`, `network_unreachable`,
    ///           `address_not_available`; any other errno unchanged.
    [[nodiscard]] static class ConnectAwaiter connect(const Endpoint& peer,
                                                      const ConnectOptions& options = {});

    /// Receives what has arrived, waiting for the first byte if there is none yet.
    ///
    /// Lifetime  The buffer's memory belongs to the thread's pool; it goes back when the buffer
    ///           goes. Beyond `LoopOptions::buffer_limit` it waits until another buffer goes.
    /// Thread    One receive at a time per stream (asserted).
    /// Suspends  Once.
    /// Returns   `Result<Buffer>` of 1 to `Buffer::capacity_bytes` bytes. Empty: the peer has
    ///           finished sending.
    /// Errors    `connection_reset`, `timed_out`; any other errno unchanged.
    /// Cost      One submission and one completion. No allocation once the pool is warm.
    [[nodiscard]] RecvBufferAwaiter recv();

    /// Receives into your own memory, as `recv()`.
    ///
    /// Lifetime  The memory is lent to the kernel until the await ends. It must not be empty.
    /// Returns   `Result<std::size_t>`: 1 to `memory.size()` bytes; 0: the peer has finished
    ///           sending.
    [[nodiscard]] TransferAwaiter recv(std::span<std::byte> memory);

    /// Receives exactly `memory.size()` bytes.
    ///
    /// Lifetime  The memory is lent to the kernel until the await ends.
    /// Suspends  Once, however many pieces arrive.
    /// Cancel    Ends with `operation_canceled`; what arrived first is in `memory`, see
    ///           `last_received_bytes`.
    /// Returns   `Result<void>`.
    /// Errors    `end_of_stream` if the peer finished before the first byte, `message_truncated` if
    ///           it finished later; otherwise as `recv`.
    [[nodiscard]] WholeAwaiter recv_exactly(std::span<std::byte> memory);

    /// Sends what the kernel takes now, waiting until it takes anything.
    ///
    /// Lifetime  The bytes are lent to the kernel until the await ends.
    /// Thread    One send at a time per stream (asserted): two could be reordered.
    /// Returns   `Result<std::size_t>`: 1 to `bytes.size()` bytes.
    /// Errors    `broken_pipe`, `connection_reset`, `timed_out`; any other errno unchanged.
    [[nodiscard]] TransferAwaiter send_some(std::span<const std::byte> bytes);

    /// Sends all of the bytes; what the kernel takes in pieces goes out again by itself.
    ///
    /// Lifetime  The bytes are lent to the kernel until the await ends.
    /// Suspends  Once, however many pieces go out. Nothing to send: not at all.
    /// Returns   `Result<void>`: everything is in the kernel's send buffer.
    /// Cancel    Ends with `operation_canceled`; `last_sent_bytes` says how much had gone out.
    /// Errors    As `send_some`.
    [[nodiscard]] WholeAwaiter send_all(std::span<const std::byte> bytes);

    /// As `send_all`, and asks the kernel to send from this memory instead of copying it first: for large
    /// messages to a network card that can (IORING_OP_SEND_ZC, Linux 6.2). On loopback the kernel
    /// copies all the same, and it costs more (docs/results/measurements.md). Where it cannot be had, as on epoll,
    /// it is `send_all`.
    ///
    /// Lifetime  The bytes are lent until the await ends, which is when the kernel needs them no more: the
    ///           peer has acknowledged them. That takes a round trip at least, and as long as the peer
    ///           does not read.
    /// Cancel    As `send_all`; what had gone out before is waited for.
    [[nodiscard]] WholeAwaiter send_all_zero_copy(std::span<const std::byte> bytes);

    /// How many bytes of the last `send_some` or `send_all` the kernel has taken, and of the last
    /// receive have arrived: also when it failed or was cancelled. Until the next one begins.
    [[nodiscard]] std::size_t last_sent_bytes() const noexcept;
    [[nodiscard]] std::size_t last_received_bytes() const noexcept;

    /// Tells the peer that nothing more will be sent; receiving goes on (shutdown(2) of SHUT_WR).
    ///
    /// Suspends  Never.
    /// Errors    `not_connected`, when the peer has reset the connection.
    Result<void> shutdown_write();

    /// Closes the connection and waits until everything lent to the kernel has come back.
    ///
    /// Operations that other coroutines have in flight end with `operation_canceled`. The stream is
    /// empty afterwards. Closing an empty stream does nothing.
    ///
    /// Suspends  Only if an operation is in flight.
    /// Returns   `Result<void>`, a success: also when it was cancelled, the socket is closed in the
    ///           end.
    [[nodiscard]] CloseAwaiter close();

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }

    /// The address of the other side, and of this one.
    ///
    /// Errors    `not_connected`, when the peer has reset the connection.
    [[nodiscard]] Result<Endpoint> peer() const;
    [[nodiscard]] Result<Endpoint> local() const;

    /// The descriptor, for setsockopt(2) and the like; -1 if the process has none for this connection
    /// (`RingFeatures::direct_descriptors`). Do not close, read or write it.
    [[nodiscard]] int native_handle() const noexcept;

    /// Lets `EventLoop::cancel_idle` end a receive or a send of this stream that makes no progress for
    /// too long. They are judged apart: a quiet receive ends also while sends go on. What is in flight
    /// already counts as idle from now on.
    void limit_idle_time() noexcept;

    /// Takes over a connected stream socket, blocking mode. For descriptors from elsewhere, such as
    /// socketpair(2).
    explicit TcpStream(UniqueFd fd);

private:
    friend class AcceptAwaiter;
    friend class ConnectAwaiter;
    explicit TcpStream(SocketHandle socket) noexcept : socket_(std::move(socket)) {}
    Socket& socket() const;

    SocketHandle socket_;
};

/// What `TcpStream::connect` returns; await it at once.
class [[nodiscard]] ConnectAwaiter {
public:
    ConnectAwaiter(const Endpoint& peer, const ConnectOptions& options);

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend(scope_of(waiter), waiter);
    }
    Result<TcpStream> await_resume();

private:
    bool suspend(CancelScope& scope, std::coroutine_handle<> waiter);

    Endpoint peer_;
    SocketHandle socket_;
    Result<void> opened_;
};

} // namespace ringlet
