#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/byte_stream.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A stream whose type is known only at run time: `AnyStream stream(std::move(tcp_stream));`
///
/// Lifetime  Owns the stream, on the heap. Move-only, even while operations are in flight.
/// Thread    The stream's.
/// Errors    Those of the stream, unchanged.
/// Cost      One allocation at construction; per operation an indirect call and a frame from the pool.
class AnyStream {
public:
    /// Owns nothing; every use of it aborts.
    AnyStream() noexcept = default;

    template <class Stream>
        requires(!std::same_as<Stream, AnyStream> && ByteStream<Stream>)
    explicit AnyStream(Stream stream)
        : stream_(std::make_unique<Model<Stream>>(std::move(stream))) {}

    /// `StreamSocket` describes what each of these does.
    [[nodiscard]] Task<Result<Buffer>> recv() { return stream().recv(); }
    [[nodiscard]] Task<Result<std::size_t>> recv(std::span<std::byte> memory) {
        return stream().recv(memory);
    }
    [[nodiscard]] Task<Result<void>> recv_exactly(std::span<std::byte> memory) {
        return stream().recv_exactly(memory);
    }
    [[nodiscard]] Task<Result<std::size_t>> send_some(std::span<const std::byte> bytes) {
        return stream().send_some(bytes);
    }
    [[nodiscard]] Task<Result<void>> send_all(std::span<const std::byte> bytes) {
        return stream().send_all(bytes);
    }
    [[nodiscard]] Task<Result<void>> send_all(std::string_view text) {
        return send_all(std::as_bytes(std::span(text)));
    }
    [[nodiscard]] Task<Result<void>> send_all(std::span<const Piece> pieces) {
        return stream().send_all(pieces);
    }
    Result<void> shutdown_write() { return stream().shutdown_write(); }
    /// Returns 0 if the stream has no `try_send`.
    Result<std::size_t> try_send(std::span<const std::byte> bytes) {
        return stream().try_send(bytes);
    }
    [[nodiscard]] Task<Result<void>> close() { return close_of(std::move(stream_)); }
    void abort() noexcept {
        if (stream_) stream_->abort();
        stream_.reset();
    }

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return stream_ != nullptr; }

private:
    class Interface {
    public:
        virtual ~Interface() = default;
        virtual Task<Result<Buffer>> recv() = 0;
        virtual Task<Result<std::size_t>> recv(std::span<std::byte> memory) = 0;
        virtual Task<Result<void>> recv_exactly(std::span<std::byte> memory) = 0;
        virtual Task<Result<std::size_t>> send_some(std::span<const std::byte> bytes) = 0;
        virtual Task<Result<void>> send_all(std::span<const std::byte> bytes) = 0;
        virtual Task<Result<void>> send_all(std::span<const Piece> pieces) = 0;
        virtual Task<Result<void>> close() = 0;
        virtual Result<void> shutdown_write() = 0;
        virtual Result<std::size_t> try_send(std::span<const std::byte> bytes) = 0;
        virtual void abort() noexcept = 0;
    };

    template <class Stream>
    class Model;

    static Task<Result<void>> close_of(std::unique_ptr<Interface> stream) {
        if (!stream) co_return Result<void>();
        auto closed = co_await stream->close();
        co_return closed;
    }
    Interface& stream() const {
        RINGLET_ASSERT(stream_ != nullptr,
                       "an AnyStream was used that is empty: moved from, or closed");
        return *stream_;
    }

    std::unique_ptr<Interface> stream_;
};

/// Holds a stream of one type. No member is used after an await: the object may be gone by then.
template <class Stream>
class AnyStream::Model final : public Interface {
public:
    explicit Model(Stream stream) : stream_(std::move(stream)) {}

    Task<Result<Buffer>> recv() override {
        auto received = co_await stream_.recv();
        co_return received;
    }
    Task<Result<std::size_t>> recv(std::span<std::byte> memory) override {
        auto received = co_await stream_.recv(memory);
        co_return received;
    }
    Task<Result<void>> recv_exactly(std::span<std::byte> memory) override {
        auto received = co_await stream_.recv_exactly(memory);
        co_return received;
    }
    Task<Result<std::size_t>> send_some(std::span<const std::byte> bytes) override {
        auto sent = co_await stream_.send_some(bytes);
        co_return sent;
    }
    Task<Result<void>> send_all(std::span<const std::byte> bytes) override {
        auto sent = co_await stream_.send_all(bytes);
        co_return sent;
    }
    Task<Result<void>> send_all(std::span<const Piece> pieces) override {
        auto sent = co_await stream_.send_all(pieces);
        co_return sent;
    }
    Task<Result<void>> close() override {
        auto closed = co_await stream_.close();
        co_return closed;
    }
    Result<void> shutdown_write() override { return stream_.shutdown_write(); }
    Result<std::size_t> try_send(std::span<const std::byte> bytes) override {
        if constexpr (requires { stream_.try_send(bytes); }) {
            return stream_.try_send(bytes);
        } else {
            return std::size_t{0};
        }
    }
    void abort() noexcept override { stream_.abort(); }

private:
    Stream stream_;
};

} // namespace ringlet
