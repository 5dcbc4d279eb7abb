#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/byte_stream.hpp>
#include <ringlet/detail/answer_or_task.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/read_buffer.hpp>
#include <ringlet/error.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// The bytes before a delimiter.
struct ReceivedLine {
    /// Without the delimiter. In the reader's memory: valid until the reader is used again.
    std::string_view text;
    /// False if the stream ended without a delimiter.
    bool complete = true;
};

/// Reads the units of a protocol from a stream: lines, counted bytes, bytes up to a delimiter.
///
///     Reader reader(stream);
///     for (;;) {
///         auto line = co_await reader.read_line();
///         if (!line) co_return;
///
/// Lifetime  Refers to the stream, which outlives it. Results are in the reader's memory and valid until the next call.
///           While it waits it keeps the bytes of an incomplete unit, but no buffer.
/// Thread    The stream's. One call at a time (asserted).
/// Cancel    A cancelled call leaves the bytes that had arrived to the next one: nothing is lost.
/// Errors    Those of the stream; `end_of_stream` when it has ended and everything was read; `operation_canceled`.
/// Cost      A unit that is already here costs no allocation, no frame and no system call. Bytes are copied only
///           if a unit straddles two buffers.
template <ByteSource Stream>
class Reader {
public:
    /// The default limit for a line, and the limit for `peek`: 64 KiB.
    static constexpr std::size_t default_limit = 65'536;

    explicit Reader(Stream& stream) noexcept : stream_(&stream) {}
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    /// Reads a line: the bytes before "\n", without a "\r" in front of that.
    ///
    /// Suspends  If no complete line is here.
    /// Returns   `Result<ReceivedLine>`.
    /// Errors    `message_too_long` if `limit` bytes are exceeded without a newline; nothing is consumed, see
    ///           `skip_until`.
    [[nodiscard]] auto read_line(std::size_t limit = default_limit) {
        return await_piece<ReceivedLine>([this, limit]() -> std::optional<Result<ReceivedLine>> {
            auto line = try_until("\n", limit);
            if (line && *line && (*line)->complete && (*line)->text.ends_with('\r'))
                (**line).text.remove_suffix(1);
            return line;
        });
    }

    /// Reads up to a delimiter of your choice, and consumes that too.
    ///
    /// Lifetime  The delimiter lives until the await ends; it is not empty.
    /// Returns, Errors  As `read_line`.
    [[nodiscard]] auto read_until(std::string_view delimiter, std::size_t limit = default_limit) {
        RINGLET_ASSERT(!delimiter.empty(), "read_until needs a delimiter");
        return await_piece<ReceivedLine>(
            [this, delimiter, limit] { return try_until(delimiter, limit); });
    }

    /// Discards everything up to and including a delimiter, such as the rest of a line that is too long.
    ///
    /// Lifetime  The delimiter lives until the await ends; it is not empty.
    /// Returns   `Result<void>`.
    /// Errors    `end_of_stream` if the stream ended first.
    [[nodiscard]] auto skip_until(std::string_view delimiter) {
        RINGLET_ASSERT(!delimiter.empty(), "skip_until needs a delimiter");
        return await_piece<void>([this, delimiter]() -> std::optional<Result<void>> {
            const auto found = buffer_.find(delimiter);
            if (found) {
                buffer_.consume(*found + delimiter.size());
                return Result<void>();
            }
            // The end may be the start of a delimiter.
            const std::size_t kept = std::min(buffer_.size(), delimiter.size() - 1);
            buffer_.consume(buffer_.size() - kept);
            if (!ended_) return std::nullopt;
            buffer_.consume(kept);
            return Result<void>(Errc::end_of_stream);
        });
    }

    /// Waits for `size_bytes` bytes and shows them without consuming them.
    ///
    /// Returns   `Result<std::span<const std::byte>>` of exactly `size_bytes`.
    /// Errors    `message_too_long` for more than `default_limit`; `message_truncated` if the stream ended first, or
    ///           `end_of_stream` if nothing was left at all.
    [[nodiscard]] auto peek(std::size_t size_bytes) {
        using Bytes = std::span<const std::byte>;
        return await_piece<Bytes>([this, size_bytes]() -> std::optional<Result<Bytes>> {
            if (size_bytes > default_limit) return Result<Bytes>(Errc::message_too_long);
            if (buffer_.size() >= size_bytes) return Result<Bytes>(buffer_.first(size_bytes));
            if (!ended_) return std::nullopt;
            return Result<Bytes>(buffer_.size() == 0 ? Errc::end_of_stream
                                                     : Errc::message_truncated);
        });
    }

    /// Reads exactly `memory.size()` bytes. What is not here yet is received directly into `memory`, not through a
    /// buffer.
    ///
    /// Lifetime  The memory is lent until the await ends.
    /// Returns   `Result<void>`.
    /// Errors    `end_of_stream` if nothing came; `message_truncated` if only a part came, which can still be read.
    [[nodiscard]] auto read_exactly(std::span<std::byte> memory) {
        const Busy busy(*this);
        return answer_or_task<Result<void>>(
            [this, memory]() -> std::optional<Result<void>> {
                if (buffer_.size() < memory.size()) return std::nullopt;
                buffer_.take(memory);
                return Result<void>();
            },
            [this, memory] { return receive_exactly(memory); });
    }

    /// Reads what is here, up to `memory.size()` bytes, waiting for the first byte if necessary.
    ///
    /// Lifetime  The memory is lent until the await ends. It must not be empty.
    /// Returns   `Result<std::size_t>`; 0: the stream has ended.
    [[nodiscard]] auto read_some(std::span<std::byte> memory) {
        RINGLET_ASSERT(!memory.empty(), "read_some into no memory");
        const Busy busy(*this);
        return answer_or_task<Result<std::size_t>>(
            [this, memory]() -> std::optional<Result<std::size_t>> {
                if (buffer_.size() == 0 && !ended_) return std::nullopt;
                return Result<std::size_t>(buffer_.take(memory));
            },
            [this, memory] { return receive_some(memory); });
    }

    /// Discards `size_bytes` bytes.
    ///
    /// Returns   `Result<void>`.
    /// Errors    `message_truncated` if the stream ended first.
    [[nodiscard]] auto skip(std::size_t size_bytes) {
        return await_piece<void>(
            [this, left = size_bytes]() mutable -> std::optional<Result<void>> {
                const std::size_t now = std::min(left, buffer_.size());
                buffer_.consume(now);
                left -= now;
                if (left == 0) return Result<void>();
                if (!ended_) return std::nullopt;
                return Result<void>(Errc::message_truncated);
            });
    }

    /// Reads everything up to the end of the stream.
    ///
    /// Returns   `Result<std::string>`.
    /// Errors    `message_too_long` for more than `limit` bytes; they can still be read.
    [[nodiscard]] auto read_to_end(std::size_t limit) {
        return await_piece<std::string>([this, limit]() -> std::optional<Result<std::string>> {
            if (buffer_.size() > limit) return Result<std::string>(Errc::message_too_long);
            if (!ended_) return std::nullopt;
            const auto all = buffer_.first(buffer_.size());
            std::string text(reinterpret_cast<const char*>(all.data()), all.size());
            buffer_.consume(all.size());
            return Result<std::string>(std::move(text));
        });
    }

    /// As the stream's `recv()`: returns what is already here, or else what comes next. This makes a reader a
    /// `ByteSource`, for the body that follows a head.
    [[nodiscard]] Task<Result<Buffer>> recv() {
        if (auto whole = buffer_.take_buffer()) co_return std::move(*whole);
        if (buffer_.size() > 0) {
            Buffer copy(Buffer::borrow(), std::min(buffer_.size(), Buffer::capacity_bytes));
            buffer_.take({copy.data(), copy.size()});
            co_return copy;
        }
        if (ended_) co_return Buffer();
        buffer_.release();
        auto received = co_await stream_->recv();
        if (received && received->empty()) ended_ = true;
        co_return received;
    }
    [[nodiscard]] auto recv(std::span<std::byte> memory) { return read_some(memory); }
    [[nodiscard]] auto recv_exactly(std::span<std::byte> memory) { return read_exactly(memory); }
    /// Closes the stream.
    [[nodiscard]] auto close() { return stream_->close(); }

    /// Puts a copy of the bytes back, to be read next.
    void unread(std::span<const std::byte> bytes) {
        const Busy busy(*this);
        buffer_.put_back(bytes);
    }
    void unread(std::string_view text) { unread(std::as_bytes(std::span(text))); }

    /// The number of bytes that are here but have not been read.
    [[nodiscard]] std::size_t buffered_bytes() const noexcept { return buffer_.size(); }

private:
    // One call at a time: a second one would change the result of the first while it is in use.
    class Busy {
    public:
        explicit Busy(const Reader& reader) {
            RINGLET_ASSERT(!reader.waits_,
                           "two reads at once by one Reader: one task reads a stream");
        }
    };
    struct Waiting {
        explicit Waiting(Reader& of) noexcept : reader(&of) { reader->waits_ = true; }
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;
        ~Waiting() { reader->waits_ = false; }
        Reader* reader;
    };

    // `try_now` returns what the buffered bytes yield; nothing means that more must be received.
    template <class T, class TryNow>
    auto await_piece(TryNow try_now) {
        const Busy busy(*this);
        return answer_or_task<Result<T>>(try_now, [this, try_now] { return wait_for<T>(try_now); });
    }

    template <class T, class TryNow>
    Task<Result<T>> wait_for(TryNow try_now) {
        const Waiting waiting(*this);
        for (;;) {
            if (auto answer = try_now()) co_return std::move(*answer);
            buffer_.release();
            auto chunk = co_await stream_->recv();
            if (!chunk) co_return chunk.error();
            if (chunk->empty()) {
                ended_ = true;
            } else {
                buffer_.add(std::move(*chunk));
            }
        }
    }

    std::optional<Result<ReceivedLine>> try_until(std::string_view delimiter, std::size_t limit) {
        const auto found = buffer_.find(delimiter);
        const std::size_t before = found ? *found : buffer_.size();
        // The end may be the start of a delimiter of several bytes.
        if (before > limit + (found ? 0 : delimiter.size() - 1))
            return Result<ReceivedLine>(Errc::message_too_long);
        if (!found && !ended_) return std::nullopt;
        if (!found && before > limit) return Result<ReceivedLine>(Errc::message_too_long);
        if (!found && before == 0) return Result<ReceivedLine>(Errc::end_of_stream);
        const auto bytes = buffer_.first(before + (found ? delimiter.size() : 0));
        buffer_.consume(bytes.size());
        return Result<ReceivedLine>(
            ReceivedLine{.text = {reinterpret_cast<const char*>(bytes.data()), before},
                         .complete = found.has_value()});
    }

    Task<Result<void>> receive_exactly(std::span<std::byte> memory) {
        const Waiting waiting(*this);
        std::size_t received = buffer_.take(memory);
        while (received < memory.size()) {
            if (!ended_) {
                buffer_.release();
                auto some = co_await stream_->recv(memory.subspan(received));
                if (!some) {
                    buffer_.put_back(memory.first(received));
                    co_return some.error();
                }
                received += *some;
                ended_ = *some == 0;
            }
            if (ended_) {
                buffer_.put_back(memory.first(received));
                if (received == 0) co_return Errc::end_of_stream;
                co_return Errc::message_truncated;
            }
        }
        co_return Result<void>();
    }

    Task<Result<std::size_t>> receive_some(std::span<std::byte> memory) {
        const Waiting waiting(*this);
        buffer_.release();
        auto some = co_await stream_->recv(memory);
        if (some && *some == 0) ended_ = true;
        co_return some;
    }

    Stream* stream_;
    ReadBuffer buffer_;
    bool ended_ = false;
    bool waits_ = false;
};

} // namespace ringlet
