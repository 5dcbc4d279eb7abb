#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/error.hpp>
#include <ringlet/piece.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>

#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <string_view>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The type that `co_await` gives for an `A`, which is a task or an awaiter.
template <class A>
struct AwaitedType {
    using type = decltype(std::declval<A&>().await_resume());
};
template <class A>
    requires requires(A&& awaited) { std::forward<A>(awaited).operator co_await(); }
struct AwaitedType<A> {
    using type = decltype(std::declval<A&&>().operator co_await().await_resume());
};
template <class A>
using Awaited = typename AwaitedType<A>::type;

/// Awaiting an `A` gives a `T`.
template <class A, class T>
concept Gives = std::same_as<Awaited<A>, T>;

/// A source of bytes: `TcpStream`, `UnixStream`, `PipeReader`, `AnyStream`, or a type of your own
/// (docs/guides/streams.md). Its functions do what those of `StreamSocket` do.
template <class S>
concept ByteSource = std::movable<S> && requires(S& source, std::span<std::byte> memory) {
    { source.recv() } -> Gives<Result<Buffer>>;
    { source.recv(memory) } -> Gives<Result<std::size_t>>;
    { source.recv_exactly(memory) } -> Gives<Result<void>>;
    { source.close() } -> Gives<Result<void>>;
};

/// Something that takes bytes.
template <class S>
concept ByteSink =
    std::movable<S> && requires(S& sink, std::span<const std::byte> bytes, std::string_view text,
                                std::span<const Piece> pieces) {
        { sink.send_some(bytes) } -> Gives<Result<std::size_t>>;
        { sink.send_all(bytes) } -> Gives<Result<void>>;
        { sink.send_all(text) } -> Gives<Result<void>>;
        { sink.send_all(pieces) } -> Gives<Result<void>>;
        { sink.close() } -> Gives<Result<void>>;
    };

/// A connection: source, sink, and ways to end it. Use it for a handler that does not care what carries its bytes:
///
///     template <ByteStream Stream>
///     Task<> echo(Stream stream);
template <class S>
concept ByteStream = ByteSource<S> && ByteSink<S> && requires(S& stream, const S& constant) {
    { stream.shutdown_write() } -> std::same_as<Result<void>>;
    { stream.abort() } -> std::same_as<void>;
    { static_cast<bool>(constant) };
};

/// Adds to your own stream the functions that can be built from others. Inherit from it, and write `recv()`,
/// `recv(memory)`, `send_all(bytes)`, `shutdown_write`, `close`, `abort` and `operator bool`.
///
///     class Counted : public StreamAdapter<Counted> {
///     public:
///         using StreamAdapter::send_all; // for text and pieces
template <class Self>
class StreamAdapter {
public:
    /// As `StreamSocket::recv_exactly`. If cancelled, it may have received a part.
    Task<Result<void>> recv_exactly(std::span<std::byte> memory) {
        std::size_t received = 0;
        while (received < memory.size()) {
            auto some = co_await self().recv(memory.subspan(received));
            if (!some) co_return some.error();
            if (*some == 0) {
                if (received == 0) co_return Errc::end_of_stream;
                co_return Errc::message_truncated;
            }
            received += *some;
        }
        co_return Result<void>();
    }

    Task<Result<std::size_t>> send_some(std::span<const std::byte> bytes) {
        auto sent = co_await self().send_all(bytes);
        if (!sent) co_return sent.error();
        co_return bytes.size();
    }

    auto send_all(std::string_view text) { return self().send_all(std::as_bytes(std::span(text))); }

    Task<Result<void>> send_all(std::span<const Piece> pieces) {
        for (const Piece& piece : pieces) {
            auto sent = co_await self().send_all(piece.bytes());
            if (!sent) co_return sent;
        }
        co_return Result<void>();
    }

private:
    friend Self;
    StreamAdapter() = default;
    Self& self() noexcept { return static_cast<Self&>(*this); }
};

} // namespace ringlet
