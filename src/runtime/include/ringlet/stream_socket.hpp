#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/message.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/piece.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <array>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Succeeds when every byte of several pieces has been sent.
class MessageAwaiter : public WholeAwaiter {
public:
protected:
    MessageAwaiter(Socket& socket, std::span<const Piece> pieces);
    bool suspend_for(std::span<const Piece> pieces, CancelScope& scope,
                     std::coroutine_handle<> waiter);

private:
    Message message_;
};

/// What `send_all` of a list of pieces returns; await it at once.
class [[nodiscard]] SendPiecesAwaiter final : public MessageAwaiter {
public:
    SendPiecesAwaiter(Socket& socket, std::span<const Piece> pieces)
        : MessageAwaiter(socket, pieces), pieces_(pieces) {}

    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend_for(pieces_, scope_of(waiter), waiter);
    }

private:
    std::span<const Piece> pieces_;
};

/// The same for pieces listed in the call.
template <std::size_t N>
class [[nodiscard]] SendTogetherAwaiter final : public MessageAwaiter {
public:
    SendTogetherAwaiter(Socket& socket, const std::array<Piece, N>& pieces)
        : MessageAwaiter(socket, pieces), pieces_(pieces) {}

    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend_for(pieces_, scope_of(waiter), waiter);
    }

private:
    std::array<Piece, N> pieces_;
};

/// A byte-stream connection over a socket: the common part of `TcpStream` and `UnixStream`, and the parameter type of a
/// handler that serves both. Either can be moved into one.
///
/// Lifetime  Owns the socket. Dropping it closes the connection. An operation that another coroutine has
///           in flight on it is cancelled; the descriptor, and all memory that the kernel may still
///           write to, stay until the kernel has answered. Move-only, even while operations are in flight.
/// Thread    The loop on which it is first used.
/// Errors    Every operation may also end with `operation_canceled`, if the loop is being left or
///           the stream was closed.
class StreamSocket {
public:
    /// Owns nothing; every use of it aborts.
    StreamSocket() noexcept = default;

    /// Takes over a connected stream socket, IPv4, IPv6 or Unix, blocking mode. For descriptors from elsewhere, such
    /// as socketpair(2). Aborts if it is anything else, and says what it is.
    explicit StreamSocket(UniqueFd fd);

    /// Receives what has arrived, waiting for the first byte if there is none yet.
    ///
    /// Lifetime  The buffer's memory belongs to the thread's pool and returns there with the buffer.
    ///           At `LoopOptions::buffer_limit` the receive waits until another buffer is released.
    /// Thread    One receive at a time per stream (asserted).
    /// Suspends  Once.
    /// Returns   `Result<Buffer>` of 1 to `Buffer::capacity_bytes` bytes. Empty: the peer has
    ///           finished sending.
    /// Errors    `connection_reset`, `timed_out`; any other errno unchanged.
    /// Cost      One submission and one completion. No allocation once the pool is warm.
    [[nodiscard]] RecvBufferAwaiter recv();

    /// Receives into your own memory, otherwise as `recv()`.
    ///
    /// Lifetime  The memory is lent to the kernel until the await ends. It must not be empty.
    /// Returns   `Result<std::size_t>`: 1 to `memory.size()` bytes; 0: the peer has finished
    ///           sending.
    [[nodiscard]] TransferAwaiter recv(std::span<std::byte> memory);

    /// Receives exactly `memory.size()` bytes.
    ///
    /// Lifetime  The memory is lent to the kernel until the await ends.
    /// Suspends  Once, however many pieces arrive.
    /// Cancel    Ends with `operation_canceled`; what had arrived is in `memory`, see
    ///           `last_received_bytes`.
    /// Returns   `Result<void>`.
    /// Errors    `end_of_stream` if the peer finished before the first byte, `message_truncated` if
    ///           it finished later; otherwise as `recv`.
    [[nodiscard]] WholeAwaiter recv_exactly(std::span<std::byte> memory);

    /// Sends as much as the kernel takes now, waiting until it takes at least one byte.
    ///
    /// Lifetime  The bytes are lent to the kernel until the await ends.
    /// Thread    One send at a time per stream (asserted): two could be reordered.
    /// Returns   `Result<std::size_t>`: 1 to `bytes.size()` bytes.
    /// Errors    `broken_pipe`, `connection_reset`, `timed_out`; any other errno unchanged.
    [[nodiscard]] TransferAwaiter send_some(std::span<const std::byte> bytes);

    /// Sends all of the bytes. If the kernel takes only a part, the rest follows automatically.
    ///
    /// Lifetime  The bytes are lent to the kernel until the await ends. A temporary that owns them does not compile.
    /// Suspends  Once, however many pieces go out. Not at all if there is nothing to send.
    /// Returns   `Result<void>`: everything is in the kernel's send buffer.
    /// Cancel    Ends with `operation_canceled`; `last_sent_bytes` says how much had gone out.
    /// Errors    As `send_some`.
    [[nodiscard]] WholeAwaiter send_all(std::span<const std::byte> bytes);
    /// The same for text; a literal is sent without its NUL.
    [[nodiscard]] WholeAwaiter send_all(std::string_view text) {
        return send_all(std::as_bytes(std::span(text)));
    }

    /// Sends several pieces in order, as one message: `co_await stream.send_all(head, body)`.
    ///
    /// Lifetime  As above, for the bytes of every piece.
    /// Cost      One submission for all (up to IOV_MAX, 1,024, at a time), without copying them together.
    template <class First, class Second, class... Rest>
        requires std::constructible_from<Piece, const First&> &&
                 std::constructible_from<Piece, const Second&> &&
                 (std::constructible_from<Piece, const Rest&> && ...)
    [[nodiscard]] auto send_all(First&& first, Second&& second, Rest&&... rest) {
        static_assert(!is_temporary_v<First> && !is_temporary_v<Second> &&
                          !(is_temporary_v<Rest> || ...),
                      "send_all borrows the bytes until it has ended: give the temporary a name, "
                      "and send that");
        return SendTogetherAwaiter<2 + sizeof...(Rest)>(
            socket(), {Piece(first), Piece(second), Piece(rest)...});
    }
    /// The same for any number of pieces; the list must live as long as the bytes.
    [[nodiscard]] SendPiecesAwaiter send_all(std::span<const Piece> pieces) {
        return {socket(), pieces};
    }

    template <class Bytes>
        requires is_temporary_v<Bytes&&>
    WholeAwaiter send_all(Bytes&&) {
        static_assert(std::is_void_v<Bytes>,
                      "send_all borrows the bytes until it has ended: give the temporary a name, "
                      "and send that");
        return send_all(std::span<const std::byte>());
    }

    /// As `send_all`, but asks the kernel to send from this memory instead of copying it first: for large
    /// messages, with a network card that supports it (IORING_OP_SEND_ZC, Linux 6.2). On loopback the kernel
    /// copies anyway, and it costs more (docs/results/measurements.md). Where it is unavailable, as on epoll,
    /// it is `send_all`.
    ///
    /// Lifetime  The bytes are lent until the await ends, which is when the kernel no longer needs them: the
    ///           peer has acknowledged them. That takes at least a round trip, and as long as the peer
    ///           does not read.
    /// Cancel    As `send_all`, but first waits for what had already gone out.
    [[nodiscard]] WholeAwaiter send_all_zero_copy(std::span<const std::byte> bytes);

    /// Sends what there is room for now: a last message from code that cannot await.
    ///
    /// Thread    No other send is in flight (asserted).
    /// Suspends  Never.
    /// Returns   `Result<std::size_t>`: 0 to `bytes.size()` bytes.
    /// Errors    As `send_some`.
    /// Cost      A system call; for a direct descriptor three.
    Result<std::size_t> try_send(std::span<const std::byte> bytes);

    /// How many bytes the kernel took in the last `send_some` or `send_all`, and how many arrived in the last
    /// receive, even if it failed or was cancelled. Valid until the next one begins.
    [[nodiscard]] std::size_t last_sent_bytes() const noexcept;
    [[nodiscard]] std::size_t last_received_bytes() const noexcept;

    /// Tells the peer that nothing more will be sent; receiving continues (shutdown(2) with SHUT_WR).
    ///
    /// Suspends  Never.
    /// Errors    `not_connected` if the peer has reset the connection.
    Result<void> shutdown_write();

    /// Closes the connection and waits until the kernel has returned everything lent to it.
    ///
    /// Operations that other coroutines have in flight end with `operation_canceled`. The stream is
    /// empty afterwards. Closing an empty stream does nothing.
    ///
    /// Suspends  Only if an operation is in flight.
    /// Returns   `Result<void>`, always a success. Even if it was cancelled, the socket is closed in the
    ///           end.
    [[nodiscard]] CloseAwaiter close();

    /// Resets the connection: the peer's next receive fails with `connection_reset` (TCP; the peer of a Unix socket
    /// sees the end of the stream), and unsent data is discarded. The stream is empty afterwards.
    ///
    /// Suspends  Never. What is in flight ends with `operation_canceled`.
    void abort() noexcept;

    /// Whether the connection is open, without an error or unread data: a connection pool's check before reusing one.
    /// False while a receive is in flight.
    ///
    /// Suspends  Never.
    /// Cost      A system call; for a direct descriptor three.
    [[nodiscard]] bool is_open_and_idle() const;

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }

    /// The addresses of the peer and of this side. A Unix socket's connecting side has none: `unix:`.
    ///
    /// Errors    `not_connected` if the peer has reset the connection.
    [[nodiscard]] Result<Endpoint> peer() const;
    [[nodiscard]] Result<Endpoint> local() const;

    /// Makes `peer` return this address from now on: that of the client on whose behalf a proxy connected
    /// (proxy_protocol.hpp). Nothing else changes; `EventLoop::dump` still shows the socket's address.
    ///
    /// Cost      A table entry until the connection ends, and a lock when it is added and removed.
    void set_peer(const Endpoint& peer);

    /// The descriptor, for setsockopt(2) and the like; -1 if the process has none for this connection
    /// (`RingFeatures::direct_descriptors`). Do not close, read or write it.
    [[nodiscard]] int native_handle() const noexcept;

    /// Lets `EventLoop::cancel_idle` end a receive or a send of this stream that makes no progress for
    /// too long. Each is judged separately: a quiet receive ends even while sends make progress. For
    /// operations already in flight, the idle time starts now.
    void limit_idle_time() noexcept;

protected:
    template <class Stream>
    friend class AcceptAwaiter;
    explicit StreamSocket(SocketHandle socket) noexcept : socket_(std::move(socket)) {}
    [[nodiscard]] Socket& socket() const;

private:
    SocketHandle socket_;
};

} // namespace ringlet
