#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/byte_stream.hpp>
#include <ringlet/cancel_scope.hpp>
#include <ringlet/deadline.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/task_record.hpp>
#include <ringlet/detail/tls_engine.hpp>
#include <ringlet/detail/tls_handle.hpp>
#include <ringlet/error.hpp>
#include <ringlet/event.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/mutex.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/yield.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace RINGLET_EXPORT ringlet {

struct TlsConnectionLimits {
    static constexpr std::size_t send_limit_bytes = 65'536;
    static constexpr std::size_t pieces_limit = 8; // per send
};

/// Spaces out the steps of handshakes: one in each turn of a loop, so that a burst of handshakes does not starve the
/// established connections.
[[nodiscard]] Mutex& handshake_turn() noexcept;

/// An engine and the stream that carries its output. Each function asks the engine, then waits for at most one thing
/// on the stream; the engine's output is sent before anything is received.
///
/// Lifetime  Until the last handle is gone. Every coroutine of the connection holds one.
template <ByteStream Transport>
class TlsConnection {
public:
    using Handle = TlsHandle<Transport>;

    TlsConnection(Transport below, const TlsContext& context, std::string host)
        : engine(context, std::move(host)), transport(std::move(below)) {}

    // ---- receiving

    /// Returns what is already there, or nothing if the caller must wait.
    template <class Into>
    std::optional<typename Into::Given> try_receive(Into& into) {
        RINGLET_ASSERT(!is_receiving, "two receives at once on one TlsStream");
        received_bytes = 0;
        if (!engine.may_read()) return std::nullopt;
        return into(engine, received_bytes);
    }

    template <class Into>
    static Task<typename Into::Given> receive(Handle self, Into into) {
        const Busy busy(self->is_receiving);
        for (;;) {
            if (self->engine.may_read()) {
                auto given = into(self->engine, self->received_bytes);
                if (given) co_return std::move(*given);
            }
            // Such as the answer to the peer's key update, or a goodbye. A send in progress takes it along.
            if (!self->engine.output().empty() && !self->is_sending && !self->cannot_send) {
                Task<Result<void>> flushing = flush(self);
                auto flushed = co_await std::move(flushing);
                if (flushed.error() == std::errc::operation_canceled) co_return flushed.error();
            }
            if (self->has_ended) co_return std::errc::operation_canceled;
            self->engine.release_buffers();
            auto arrived = co_await self->transport.recv();
            if (!arrived) co_return arrived.error();
            self->engine.feed(std::move(*arrived));
        }
    }

    // ---- sending

    static Task<Result<void>> send_all(Handle self, std::span<const std::byte> bytes) {
        const Busy busy(self->is_writing);
        auto refused = co_await self->begin_send();
        if (!refused) co_return refused;
        do {
            auto sent = co_await self->send_next(bytes);
            if (!sent) co_return sent;
        } while (!bytes.empty());
        self->is_cut = false;
        co_return Result<void>();
    }

    static Task<Result<std::size_t>> send_some(Handle self, std::span<const std::byte> bytes) {
        const Busy busy(self->is_writing);
        auto begun = co_await self->begin_send();
        if (!begun) co_return begun.error();
        auto sent = co_await self->send_next(bytes);
        if (!sent) co_return sent.error();
        self->is_cut = false;
        co_return self->sent_bytes;
    }

    static Task<Result<void>> send_pieces(Handle self, std::span<const Piece> pieces) {
        const Busy busy(self->is_writing);
        auto begun = co_await self->begin_send();
        if (!begun) co_return begun;
        std::size_t encrypted_bytes = 0;
        for (const Piece& piece : pieces) {
            std::span<const std::byte> bytes = piece.bytes();
            // Small pieces are sent together.
            while (!bytes.empty()) {
                const auto error = self->encrypt(bytes, encrypted_bytes);
                if (error) co_return error;
                if (encrypted_bytes < TlsConnectionLimits::send_limit_bytes) break;
                encrypted_bytes = 0;
                auto sent = co_await flush(self);
                if (!sent) co_return sent;
            }
        }
        auto sent = co_await flush(self);
        self->is_cut = !sent;
        co_return sent;
    }

    template <std::size_t N>
    static Task<Result<void>> send_together(Handle self, std::array<Piece, N> pieces) {
        auto sent = co_await send_pieces(self, std::span<const Piece>(pieces));
        co_return sent;
    }

    /// Sends the engine's output, and waits for a send that is already in progress.
    static Task<Result<void>> flush(Handle self) {
        for (;;) {
            if (self->has_ended) co_return std::errc::operation_canceled;
            if (self->is_sending) {
                auto passed = co_await self->sent_.wait();
                if (!passed) co_return passed;
                continue;
            }
            if (self->engine.output().empty()) co_return Result<void>();
            Sending sending(*self);
            auto sent = co_await self->send_blocks(sending.leaving);
            if (!sent) co_return sent;
        }
    }

    // ---- the beginning and the end

    static Task<Result<void>> handshake(Handle self) {
        for (;;) {
            auto turn = co_await handshake_turn().lock();
            if (!turn) co_return turn.error();
            const auto status = self->engine.handshake();
            auto yielded = co_await yield();
            turn->unlock();
            if (!yielded) co_return yielded;

            auto flushed = co_await flush(self); // sends an alert, too
            if (status == TlsEngine::Status::failed) {
                // Unread data would reset the connection, and the alert could be lost.
                Task<Result<void>> parting = wait_for_the_end(self);
                const auto limit = self->engine.context().options().close_timeout;
                auto parted = co_await with_timeout(limit, std::move(parting));
                static_cast<void>(parted);
                co_return self->engine.error();
            }
            if (!flushed) co_return flushed;
            if (status == TlsEngine::Status::done) co_return Result<void>();
            auto arrived = co_await self->transport.recv();
            if (!arrived) co_return arrived.error();
            self->engine.feed(std::move(*arrived));
        }
    }

    static Task<Result<void>> close(Handle self) {
        if (!self || self->has_ended) co_return Result<void>();
        self->say_goodbye();
        Task<Result<void>> parting = part(self);
        const auto limit = self->engine.context().options().close_timeout;
        auto parted = co_await with_timeout(limit, std::move(parting));
        if (!parted) self->send_now();
        if (self->has_ended) co_return Result<void>();
        self->has_ended = true;
        auto closed = co_await self->transport.close();
        co_return closed;
    }

    /// The stream was dropped: sends what can be sent without waiting.
    void dropped() noexcept {
        say_goodbye();
        send_now();
        if (is_shared && (is_sending || !engine.output().empty())) return; // closed by with_tls
        end();
    }

    /// Closes the underlying stream at once and cancels the operations that wait on it.
    void end() noexcept {
        has_ended = true;
        Transport closing = std::move(transport);
    }

    void abort() noexcept {
        if (!std::exchange(has_ended, true)) transport.abort();
    }

    /// Does nothing after an incomplete send: the peer must not mistake part of a message for all of it.
    void say_goodbye() noexcept {
        if (!is_cut) engine.say_goodbye();
    }

    /// Sends as much as fits now, if the underlying stream can do that.
    void send_now() noexcept {
        if (is_sending || has_ended || cannot_send || !transport) return;
        if constexpr (requires(std::span<const std::byte> bytes) { transport.try_send(bytes); }) {
            while (!engine.output().empty()) {
                std::array<Piece, 1> room;
                const auto first = engine.output().pieces(room).front();
                const auto sent = transport.try_send(first.bytes());
                if (!sent || *sent == 0) return;
                engine.output().skip(*sent);
            }
        }
    }

    /// Sends what did not fit alongside whatever the task does next.
    static void flush_beside(const Handle& self) {
        const TaskRecord* task = LoopCore::current_task();
        if (task == nullptr || self->is_sending || self->engine.output().empty()) return;
        EventLoop::of(*task->task_scope.loop).spawn("TLS goodbye", flush_quietly, self);
    }

    [[nodiscard]] std::string why(std::error_code error) const {
        if (!engine.failure().empty()) return engine.failure();
        return "the TLS handshake failed: " + error.message();
    }

    std::size_t holder_count = 0;
    TlsEngine engine;
    Transport transport;
    std::size_t sent_bytes = 0;
    std::size_t received_bytes = 0;
    bool is_receiving = false;
    bool is_writing = false;
    bool is_sending = false;
    bool cannot_send = false;
    bool has_ended = false;
    bool is_shared = false;
    bool is_cut = false; // the last send failed or is incomplete

private:
    /// Keeps the flag set for as long as it lives.
    class Busy {
    public:
        explicit Busy(bool& flag) noexcept : flag_(flag) {
            RINGLET_ASSERT(!flag_, "two operations of one kind at once on one TlsStream");
            flag_ = true;
        }
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;
        ~Busy() { flag_ = false; }

    private:
        bool& flag_;
    };

    /// Takes over the output to send. What is unsent at the end goes back.
    class Sending {
    public:
        explicit Sending(TlsConnection& connection) noexcept : connection_(connection) {
            std::swap(leaving, connection_.engine.output());
            connection_.is_sending = true;
        }
        Sending(const Sending&) = delete;
        Sending& operator=(const Sending&) = delete;
        ~Sending() {
            connection_.engine.output().put_in_front(std::move(leaving));
            connection_.is_sending = false;
            connection_.sent_.set(); // wakes those that wait now
            connection_.sent_.clear();
        }
        TlsOutput leaving;

    private:
        TlsConnection& connection_;
    };

    // Encrypts nothing in a cancelled scope: it would be sent after all.
    Task<Result<void>> begin_send() {
        sent_bytes = 0;
        is_cut = true;
        auto reason = co_await cancelled();
        if (reason || has_ended) co_return std::errc::operation_canceled;
        co_return Result<void>();
    }

    std::error_code encrypt(std::span<const std::byte>& bytes, std::size_t& encrypted_bytes) {
        const auto part = bytes.first(
            std::min(bytes.size(), TlsConnectionLimits::send_limit_bytes - encrypted_bytes));
        const std::error_code error = engine.write(part);
        if (error) return error;
        sent_bytes += part.size();
        encrypted_bytes += part.size();
        bytes = bytes.subspan(part.size());
        return {};
    }

    Task<Result<void>> send_next(std::span<const std::byte>& bytes) {
        std::size_t encrypted_bytes = 0;
        const auto error = encrypt(bytes, encrypted_bytes);
        if (error) co_return error;
        Task<Result<void>> flushing = flush(Handle(this));
        auto sent = co_await std::move(flushing);
        co_return sent;
    }

    // Unsent output stays in `leaving`, or the connection is broken.
    Task<Result<void>> send_blocks(TlsOutput& leaving) {
        std::array<Piece, TlsConnectionLimits::pieces_limit> room;
        while (!leaving.empty()) {
            const std::span<const Piece> pieces = leaving.pieces(room);
            std::size_t size_bytes = 0;
            for (const Piece& piece : pieces) size_bytes += piece.size();
            auto sent = co_await transport.send_all(pieces);
            if (!sent) {
                cannot_send = sent.error() != std::errc::operation_canceled;
                if constexpr (requires { transport.last_sent_bytes(); }) {
                    if (!has_ended) leaving.skip(transport.last_sent_bytes());
                } else {
                    engine.break_off();
                    leaving = TlsOutput();
                }
                co_return sent;
            }
            leaving.skip(size_bytes);
        }
        cannot_send = false;
        co_return Result<void>();
    }

    static Task<> flush_quietly(Handle self) {
        auto flushed = co_await flush(self);
        static_cast<void>(flushed); // the next receive or send reports the error
    }

    static Task<Result<void>> part(Handle self) {
        auto flushed = co_await flush(self);
        if (!flushed || self->has_ended) co_return flushed;
        // Unread data, such as tickets, would reset the connection, and sent data could be lost.
        if (self->engine.is_server() || self->engine.has_read() || self->is_receiving)
            co_return flushed;
        auto ended = co_await wait_for_the_end(self);
        co_return ended;
    }

    static Task<Result<void>> wait_for_the_end(Handle self) {
        auto finished = self->transport.shutdown_write();
        if (!finished) co_return finished;
        for (;;) {
            auto arrived = co_await self->transport.recv();
            if (!arrived) co_return arrived.error();
            if (arrived->empty() || self->has_ended) co_return Result<void>();
        }
    }

    Event sent_{"TLS send"};
};

} // namespace ringlet
