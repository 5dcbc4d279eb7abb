#include "exchange.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

using namespace ringlet;

namespace {

// The bytes sent or received in one operation, after which each direction checks the other's progress.
constexpr std::size_t piece_bytes = 65'536;

// How many bytes TLS can send before it receives: with its overhead they fit into the smallest buffer that
// a socket can have (SOCK_MIN_SNDBUF, 4,608 bytes, of which the kernel uses half for itself; socket(7)).
constexpr std::size_t tls_first_bytes = 2'048;

/// How far both directions of a large exchange are.
struct Moved {
    std::size_t sent_bytes = 0;
    std::size_t received_bytes = 0;
};

// A direction that timed out has not failed if the other made progress meanwhile: the server was busy
// reading or writing. It continues where it was.
bool has_failed(const Result<void>& result, bool other_moved) {
    return !result && !(other_moved && result.error() == std::errc::timed_out);
}

template <class Stream>
Task<Result<void>> send_pieces(Stream& stream, std::span<const std::byte> request, Moved& moved) {
    while (moved.sent_bytes < request.size()) {
        const std::size_t received_before = moved.received_bytes;
        const std::size_t size = std::min(piece_bytes, request.size() - moved.sent_bytes);
        auto sent = co_await stream.send_all(request.subspan(moved.sent_bytes, size));
        moved.sent_bytes += stream.last_sent_bytes();
        if (has_failed(sent, moved.received_bytes != received_before)) co_return sent;
    }
    co_return Result<void>();
}

template <class Stream>
Task<Result<void>> receive_pieces(Stream& stream, std::span<std::byte> reply, Moved& moved) {
    while (moved.received_bytes < reply.size()) {
        const std::size_t sent_before = moved.sent_bytes;
        const std::size_t size = std::min(piece_bytes, reply.size() - moved.received_bytes);
        auto received = co_await stream.recv_exactly(reply.subspan(moved.received_bytes, size));
        moved.received_bytes += stream.last_received_bytes();
        if (has_failed(received, moved.sent_bytes != sent_before)) co_return received;
    }
    co_return Result<void>();
}

// The first direction that fails ends the other. Both have ended when this does: the kernel no longer
// uses the buffers.
template <class Stream>
Task<Result<void>> move_both_ways(Stream& stream, std::span<const std::byte> request,
                                  std::span<std::byte> reply, std::size_t sent_bytes) {
    Moved moved;
    moved.sent_bytes = sent_bytes;
    auto sending = send_pieces(stream, request, moved);
    auto receiving = receive_pieces(stream, reply, moved);
    auto both = co_await when_all(std::move(sending), std::move(receiving));
    const auto& [sent, received] = both;
    const bool only_ended = !sent && sent.error() == std::errc::operation_canceled;
    if (!sent && !(only_ended && !received)) co_return sent;
    co_return received;
}

// First sends what goes out without waiting for the server to read: mostly all of it. The buffers of this
// connection decide how much that is, which is not known beforehand. The rest is sent and received at the same
// time: a server may read all of it before it answers, or answer while it reads, and must not have to wait for
// us. TLS waits until a whole record has gone out, so it begins only with what always fits.
template <class Stream>
Task<Result<bool>> exchange_on(Stream& stream, std::span<const std::byte> request,
                               std::span<std::byte> reply) {
    std::size_t sent_bytes = 0;
    if constexpr (std::is_same_v<Stream, StreamSocket>) {
        const auto first = request.first(std::min(piece_bytes, request.size()));
        auto sent = co_await stream.send_some(first);
        if (!sent) co_return sent.error();
        sent_bytes = *sent;
    } else if (request.size() <= tls_first_bytes) {
        auto sent = co_await stream.send_all(request);
        if (!sent) co_return sent.error();
        sent_bytes = request.size();
    }
    if (sent_bytes == request.size()) {
        auto received = co_await stream.recv_exactly(reply);
        if (!received) co_return received.error();
    } else {
        auto moved = co_await move_both_ways(stream, request, reply, sent_bytes);
        if (!moved) co_return moved.error();
    }
    co_return std::memcmp(reply.data(), request.data(), request.size()) == 0;
}

Task<Result<StreamSocket>> connect_plain(const Endpoint& server, ConnectOptions options) {
    if (server.is_unix()) {
        auto stream = co_await UnixStream::connect(server);
        if (!stream) co_return stream.error();
        if (options.limit_idle_time) stream->limit_idle_time();
        co_return StreamSocket(std::move(*stream));
    }
    auto stream = co_await TcpStream::connect(server, options);
    if (!stream) co_return stream.error();
    co_return StreamSocket(std::move(*stream));
}

} // namespace

Task<Result<Connection>> open_connection(const Endpoint& server, ConnectOptions options,
                                         const std::optional<TlsSettings>& tls,
                                         std::string* cause) {
    auto plain = co_await connect_plain(server, options);
    if (!plain) co_return plain.error();
    if (!tls) co_return Connection(std::move(*plain));
    Task<Result<TlsStream>> shaking =
        TlsStream::connect(std::move(*plain), tls->context, tls->server_name, cause);
    auto stream = co_await std::move(shaking);
    if (!stream) co_return stream.error();
    co_return Connection(std::move(*stream));
}

Task<Result<bool>> Connection::exchange(std::span<const std::byte> request,
                                        std::span<std::byte> reply) {
    if (tls_) return exchange_on(tls_, request, reply);
    return exchange_on(plain_, request, reply);
}

Task<Result<void>> Connection::close() {
    if (tls_) {
        auto closed = co_await tls_.close();
        co_return closed;
    }
    auto closed = co_await plain_.close();
    co_return closed;
}
