#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/byte_stream.hpp>
#include <ringlet/deadline.hpp>
#include <ringlet/detail/answer_or_task.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/tls_connection.hpp>
#include <ringlet/detail/tls_receive.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>
#include <ringlet/tls_context.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A TLS connection over any kind of stream, and itself a `ByteStream`. `TlsStream` is the one over a socket.
///
/// Lifetime  Owns the underlying stream. Dropping it sends as much of the goodbye (close_notify) as fits, and closes,
///           as `close` does; operations that other coroutines have in flight end with `operation_canceled`.
///           Move-only, and movable while operations are in flight.
/// Thread    The loop that first uses it. One task may receive while another sends.
/// Errors    Those of the underlying stream, and `TlsErrc`. Any operation may end with `operation_canceled`.
/// Cost      It holds no buffer while it waits. An operation takes a frame from the pool; only OpenSSL allocates
///           anything else for a message.
template <ByteStream Transport>
class BasicTlsStream {
public:
    /// Owns nothing; any use of it aborts.
    BasicTlsStream() noexcept = default;
    BasicTlsStream(BasicTlsStream&&) noexcept = default;
    BasicTlsStream& operator=(BasicTlsStream&& other) noexcept {
        if (this != &other) {
            drop();
            connection_ = std::move(other.connection_);
        }
        return *this;
    }
    ~BasicTlsStream() { drop(); }

    /// Does the handshake as the server. The underlying stream must be read up to the point where TLS begins.
    ///
    /// Suspends  Until the handshake has ended, for `TlsOptions::handshake_timeout` at most.
    /// Cancel    Ends with `operation_canceled`; the connection is closed.
    /// Returns   `Result<BasicTlsStream>`.
    /// Errors    `TlsErrc`, `timed_out`. `cause`, if not null, receives a line with details; it outlives the await.
    [[nodiscard]] static Task<Result<BasicTlsStream>> accept(Transport below, TlsContext context,
                                                             std::string* cause = nullptr) {
        return shake_hands(std::move(below), std::move(context), {}, cause);
    }
    /// Does the handshake as a client of `host`: the name that is sent, and that the certificate must match.
    /// Otherwise like `accept`.
    [[nodiscard]] static Task<Result<BasicTlsStream>>
    connect(Transport below, TlsContext context, std::string host, std::string* cause = nullptr) {
        return shake_hands(std::move(below), std::move(context), std::move(host), cause);
    }

    /// Receives what has arrived: see `StreamSocket::recv`. Empty: the peer has said goodbye.
    ///
    /// Cancel    Nothing is lost.
    /// Errors    `truncated`, if the connection ended without a goodbye.
    [[nodiscard]] auto recv() { return receive(TlsIntoBuffer()); }
    [[nodiscard]] auto recv(std::span<std::byte> memory) {
        RINGLET_ASSERT(!memory.empty(), "recv into no memory: 0 bytes would look like the end");
        return receive(TlsIntoMemory{memory});
    }
    [[nodiscard]] auto recv_exactly(std::span<std::byte> memory) {
        return receive(TlsIntoAllOfMemory{memory});
    }

    /// Sends some of the bytes, `send_limit_bytes` at most.
    [[nodiscard]] Task<Result<std::size_t>> send_some(std::span<const std::byte> bytes) {
        return Connection::send_some(used(), bytes);
    }
    /// Sends all of the bytes; see `StreamSocket::send_all`.
    ///
    /// Cancel    Ends with `operation_canceled`. `last_sent_bytes` tells how much was encrypted; the unsent part goes
    ///           out before the next send, receive or close. If the underlying stream cannot tell how much it has
    ///           sent, a send that was cut short breaks the connection: the next one ends with `broken`.
    [[nodiscard]] Task<Result<void>> send_all(std::span<const std::byte> bytes) {
        return Connection::send_all(used(), bytes);
    }
    /// The same for a text; a literal is sent without its NUL.
    [[nodiscard]] Task<Result<void>> send_all(std::string_view text) {
        return send_all(std::as_bytes(std::span(text)));
    }
    /// Sends several pieces in order, as one send: `co_await stream.send_all(head, body)`.
    template <class First, class Second, class... Rest>
        requires std::constructible_from<Piece, const First&> &&
                 std::constructible_from<Piece, const Second&> &&
                 (std::constructible_from<Piece, const Rest&> && ...)
    [[nodiscard]] Task<Result<void>> send_all(First&& first, Second&& second, Rest&&... rest) {
        static_assert(!is_temporary_v<First> && !is_temporary_v<Second> &&
                          !(is_temporary_v<Rest> || ...),
                      "send_all borrows the bytes until it has ended: give the temporary a name, "
                      "and send that");
        return Connection::send_together(used(), std::array<Piece, 2 + sizeof...(Rest)>{
                                                     Piece(first), Piece(second), Piece(rest)...});
    }
    /// The same for any number of pieces. The array must live as long as the bytes.
    [[nodiscard]] Task<Result<void>> send_all(std::span<const Piece> pieces) {
        return Connection::send_pieces(used(), pieces);
    }
    template <class Bytes>
        requires is_temporary_v<Bytes&&>
    Task<Result<void>> send_all(Bytes&&) {
        static_assert(std::is_void_v<Bytes>,
                      "send_all borrows the bytes until it has ended: give the temporary a name, "
                      "and send that");
        return send_all(std::string_view());
    }

    /// How many bytes the last send encrypted, or the last receive delivered, even if it failed.
    [[nodiscard]] std::size_t last_sent_bytes() const noexcept { return used()->sent_bytes; }
    [[nodiscard]] std::size_t last_received_bytes() const noexcept {
        return used()->received_bytes;
    }

    /// Encrypts all of the bytes and sends as much as fits now; the rest goes out before the next send, receive or
    /// close. For a last word: see `StreamSocket::try_send`.
    Result<std::size_t> try_send(std::span<const std::byte> bytes) {
        const std::error_code error = used()->engine.write(bytes);
        if (error) return error;
        used()->send_now();
        return bytes.size();
    }

    /// Sends the goodbye (close_notify); receiving continues. What does not fit now is sent by a task of the loop.
    ///
    /// Suspends  Never.
    Result<void> shutdown_write() {
        used()->engine.say_goodbye();
        used()->send_now();
        Connection::flush_beside(used());
        return {};
    }

    /// Sends the goodbye once and closes the underlying stream. The stream is empty afterwards. After a failed or
    /// cancelled send there is no goodbye: the peer must not mistake part of a message for all of it.
    ///
    /// Suspends  Until the goodbye is in the kernel's send buffer, for `TlsOptions::close_timeout` at most. It does not
    ///           wait for the peer's goodbye. But a client that has read nothing waits, within the same timeout, for
    ///           the peer's end: unread data would reset the connection, and sent data could be lost.
    /// Returns   `Result<void>`: success, even when it was cancelled.
    [[nodiscard]] Task<Result<void>> close() { return Connection::close(std::move(connection_)); }

    /// Ends the connection without a goodbye: see `StreamSocket::abort`.
    void abort() noexcept {
        if (connection_) connection_->abort();
        connection_ = {};
    }

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(connection_); }

    /// The underlying stream, for `peer()`, `local()` and the like. Do not send or receive on it.
    [[nodiscard]] Transport& below() const { return used()->transport; }

    /// The protocol version, such as "TLSv1.3".
    [[nodiscard]] std::string_view version() const { return used()->engine.version(); }
    [[nodiscard]] std::string_view cipher() const { return used()->engine.cipher(); }
    /// The negotiated application protocol (ALPN); empty: none.
    [[nodiscard]] std::string_view protocol() const { return used()->engine.protocol(); }
    /// The host that the client asked for (SNI); empty: it named none.
    [[nodiscard]] std::string server_name() const { return used()->engine.server_name(); }
    /// The first name in the peer's certificate; empty: it sent none.
    [[nodiscard]] std::string peer_name() const { return used()->engine.peer_name(); }
    /// Whether the handshake was abbreviated, with a ticket from an earlier connection.
    [[nodiscard]] bool was_resumed() const { return used()->engine.was_resumed(); }
    /// What failed, with names; empty: nothing failed.
    [[nodiscard]] const std::string& failure() const { return used()->engine.failure(); }

    /// The most that is encrypted before it is sent: four records.
    static constexpr std::size_t send_limit_bytes = TlsConnectionLimits::send_limit_bytes;

    // For `with_tls`, which closes a stream that the handler dropped: keeps the connection beside this handle.
    using Connection = TlsConnection<Transport>;
    [[nodiscard]] TlsHandle<Transport> share() {
        connection_->is_shared = true;
        return connection_;
    }

private:
    using Handle = TlsHandle<Transport>;

    explicit BasicTlsStream(Handle connection) noexcept : connection_(std::move(connection)) {}

    static Task<Result<BasicTlsStream>> shake_hands(Transport below, TlsContext context,
                                                    std::string host, std::string* cause) {
        Handle made(new Connection(std::move(below), context, std::move(host)));
        Task<Result<void>> shaking = Connection::handshake(made);
        auto done = co_await with_timeout(context.options().handshake_timeout, std::move(shaking));
        if (!done) {
            if (cause != nullptr) *cause = made->why(done.error());
            made->end();
            co_return done.error();
        }
        co_return BasicTlsStream(std::move(made));
    }

    template <class Into>
    auto receive(Into into) {
        using Given = typename Into::Given;
        Connection* connection = used().get();
        return answer_or_task<Given>(
            [connection, into]() mutable { return connection->try_receive(into); },
            [connection, into] { return Connection::receive(Handle(connection), into); });
    }

    [[nodiscard]] const Handle& used() const {
        RINGLET_ASSERT(connection_,
                       "a TlsStream was used that is empty: moved from, closed or aborted");
        return connection_;
    }
    void drop() noexcept {
        if (connection_) connection_->dropped();
        connection_ = {};
    }

    Handle connection_;
};

/// TLS over a TCP or Unix connection. Handlers take one:
///
///     Task<> echo(TlsStream stream);
using TlsStream = BasicTlsStream<StreamSocket>;

} // namespace ringlet
