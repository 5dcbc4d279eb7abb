#pragma once

#include <ringlet/byte_stream.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/event.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/piece.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// The state shared by a `Writer` and its sending task. Not for users.
template <ByteSink Stream>
class WriterState : public Pooled {
public:
    explicit WriterState(Stream& to) noexcept : stream_(&to) {}

    /// One share of the state; the last owner frees it.
    class Owner {
    public:
        explicit Owner(WriterState& state) noexcept : state_(&state) { ++state.owners_; }
        Owner(Owner&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
        Owner& operator=(Owner&&) = delete;
        ~Owner() {
            if (state_ != nullptr && --state_->owners_ == 0) delete state_;
        }
        WriterState* operator->() const noexcept { return state_; }
        WriterState& operator*() const noexcept { return *state_; }

    private:
        WriterState* state_;
    };

    std::size_t add(std::initializer_list<Piece> pieces) {
        const std::size_t before = pending_.size();
        for (const Piece& piece : pieces) {
            const auto bytes = piece.bytes();
            pending_.insert(pending_.end(), bytes.begin(), bytes.end());
        }
        return pending_.size() - before;
    }
    /// Drops the bytes that were added last.
    void take_back(std::size_t size_bytes) {
        pending_.resize(pending_.size() - std::min(size_bytes, pending_.size()));
    }
    [[nodiscard]] std::size_t unsent_bytes() const noexcept {
        return pending_.size() + sending_.size();
    }
    [[nodiscard]] std::size_t pending_bytes() const noexcept { return pending_.size(); }
    [[nodiscard]] std::error_code error() const noexcept { return error_; }
    /// Whether a send is in progress; what is added in the meantime goes out after it.
    [[nodiscard]] bool sends() const noexcept { return sends_; }

    /// Schedules the pending bytes for the loop's next turn.
    void send_soon(LoopCore& loop) {
        loop_ = &loop;
        if (sends_ || pending_.empty() || error_ || stream_ == nullptr) return;
        EventLoop::of(loop).spawn("writer", send_pending, Sending(*this));
    }

    /// Waits until `done` returns true, or an error occurs.
    template <class Done>
    static Task<Result<void>> wait_until(Owner state, Done done) {
        while (!state->error_ && !done(*state)) {
            auto moved = co_await state->progress_.wait();
            if (!moved) co_return moved;
        }
        if (state->error_) co_return state->error_;
        co_return Result<void>();
    }

    /// Sends from the caller's memory, after everything else has gone out.
    static Task<Result<void>> send_directly(Owner state, std::span<const std::byte> bytes) {
        auto idle = co_await wait_until(Owner(*state), is_idle);
        if (!idle) co_return idle;
        Sending sending(*state);
        auto sent = co_await state->stream_->send_all(bytes);
        if (!sent && !state->error_) state->error_ = sent.error(); // a part of it may have gone
        sending.finish();
        state->send_soon(*state->loop_); // what was written meanwhile
        co_return sent;
    }

    static bool is_idle(const WriterState& state) noexcept {
        return !state.sends_ && state.pending_.empty();
    }

    void writer_has_gone() noexcept {
        stream_ = nullptr;
        if (loop_ != nullptr && unsent_bytes() > 0 && !error_) {
            loop_->report("a Writer went with bytes that were not sent: co_await its flush() "
                          "before it goes");
        }
        if (!error_) error_ = std::make_error_code(std::errc::operation_canceled);
        tell();
    }

private:
    // Exists during a send. If it ends without `finish`, because of an exception or because its task never
    // started, it leaves an error, so that no writer waits forever.
    class Sending {
    public:
        explicit Sending(WriterState& state) noexcept : state_(state) { state.sends_ = true; }
        Sending(Sending&& other) noexcept
            : state_(std::move(other.state_)), sends_(std::exchange(other.sends_, false)) {}
        Sending& operator=(Sending&&) = delete;
        ~Sending() {
            if (!sends_) return;
            if (!state_->error_)
                state_->error_ = std::make_error_code(std::errc::operation_canceled);
            finish();
        }
        void finish() noexcept {
            sends_ = false;
            state_->sends_ = false;
            state_->tell();
        }
        WriterState* operator->() const noexcept { return state_.operator->(); }

    private:
        Owner state_;
        bool sends_ = true;
    };

    static Task<> send_pending(Sending state) {
        while (state->stream_ != nullptr && !state->pending_.empty() && !state->error_) {
            std::swap(state->pending_, state->sending_);
            const std::span<const std::byte> bytes(state->sending_);
            auto sent = co_await state->stream_->send_all(bytes);
            state->sending_.clear();
            if (!sent && !state->error_) state->error_ = sent.error();
            state->tell();
        }
        state.finish();
    }

    // Makes all waiters check again.
    void tell() noexcept {
        progress_.set();
        progress_.clear();
    }

    Stream* stream_; // null: the writer has gone
    LoopCore* loop_ = nullptr;
    std::vector<std::byte> pending_;
    std::vector<std::byte> sending_;
    std::error_code error_;
    bool sends_ = false;
    Event progress_{"a writer's progress"};
    std::size_t owners_ = 0;
};

/// What `Writer::write` and `flush` return; await it at once.
template <ByteSink Stream, class Done>
class [[nodiscard]] WriteAwaiter final {
public:
    WriteAwaiter(WriterState<Stream>& state, std::size_t added_bytes, Done done) noexcept
        : state_(&state), added_bytes_(added_bytes), done_(done) {}
    /// Move it only before it is awaited.
    WriteAwaiter(WriteAwaiter&&) = default;
    WriteAwaiter& operator=(WriteAwaiter&&) = delete;

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> writing) {
        CancelScope& scope = scope_of(writing);
        LoopCore& loop = *scope.loop;
        const auto admission = loop.admit(scope);
        if (admission != LoopCore::Admission::proceed) [[unlikely]] {
            state_->take_back(added_bytes_);
            answer_ = std::errc::operation_canceled;
            return loop.suspend_refused(admission, scope, writing);
        }
        if (state_->error()) {
            answer_ = state_->error();
            return loop.answered_at_once(scope, writing);
        }
        state_->send_soon(loop);
        if (done_(*state_)) return loop.answered_at_once(scope, writing);
        task_ =
            WriterState<Stream>::wait_until(typename WriterState<Stream>::Owner(*state_), done_);
        return task_.in(&scope).await_suspend(writing);
    }
    Result<void> await_resume() { return task_ ? task_.frame().promise().take() : answer_; }

private:
    WriterState<Stream>* state_;
    std::size_t added_bytes_;
    Done done_;
    Result<void> answer_;
    Task<Result<void>> task_;
};

/// Collects small writes and sends them together, in the loop's next turn or at `flush`.
///
///     Writer writer(stream);
///     auto written = co_await writer.write("HTTP/1.1 200 OK\r\n", headers, "\r\n");
///     ...
///     auto flushed = co_await writer.flush();
///     if (!flushed) co_return;
///
/// Lifetime  Refers to the stream, which outlives it. Bytes that are unsent when the writer is destroyed are lost,
///           and that is reported: flush before you return. Written bytes are copied and need not outlive the call.
/// Thread    The stream's. Several tasks may write; each call's bytes stay together. No other code may send on the
///           stream at the same time.
/// Cancel    A wait ends with `operation_canceled`. What had been written before is still sent.
/// Errors    Those of `send_all`. If a send fails after its write has returned, the next call returns the error, and so
///           do all later ones.
/// Cost      A copy, and one send for everything written in a turn.
template <ByteSink Stream>
class Writer {
public:
    /// The default number of unsent bytes above which a write waits: 64 KiB.
    static constexpr std::size_t limit_bytes = 65'536;

    explicit Writer(Stream& stream) : state_(*new WriterState<Stream>(stream)) {}
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer() { state_->writer_has_gone(); }

    /// Writes pieces in order: text, bytes, buffers.
    ///
    /// Suspends  While more than `limit_bytes` are waiting to be sent.
    /// Returns   `Result<void>`.
    template <class... Pieces>
        requires(std::constructible_from<Piece, const Pieces&> && ...)
    [[nodiscard]] auto write(const Pieces&... pieces) {
        constexpr auto has_room = [](const WriterState<Stream>& state) {
            return state.pending_bytes() <= limit_bytes;
        };
        const std::size_t added = state_->add({Piece(pieces)...});
        return WriteAwaiter<Stream, decltype(has_room)>(*state_, added, has_room);
    }

    /// Sends everything that was written.
    ///
    /// Suspends  Until the kernel has it all; not if there is nothing to send.
    /// Returns   `Result<void>`.
    [[nodiscard]] auto flush() {
        constexpr auto is_idle = [](const WriterState<Stream>& state) {
            return WriterState<Stream>::is_idle(state);
        };
        return WriteAwaiter<Stream, decltype(is_idle)>(*state_, 0, is_idle);
    }

    /// Sends a large body without a copy, after everything written before.
    ///
    /// Lifetime  The bytes are lent until the await ends.
    /// Cancel    Ends with `operation_canceled`; a part may have gone out, so every later call returns the same error.
    /// Returns   `Result<void>`.
    [[nodiscard]] Task<Result<void>> send_all(std::span<const std::byte> bytes) {
        typename WriterState<Stream>::Owner state(*state_); // the writer may be destroyed meanwhile
        auto flushed = co_await flush();
        if (!flushed) co_return flushed;
        auto sent = co_await WriterState<Stream>::send_directly(std::move(state), bytes);
        co_return sent;
    }
    [[nodiscard]] Task<Result<void>> send_all(std::string_view text) {
        return send_all(std::as_bytes(std::span(text)));
    }

    /// Bytes that the kernel has not taken yet.
    [[nodiscard]] std::size_t unsent_bytes() const noexcept { return state_->unsent_bytes(); }

private:
    typename WriterState<Stream>::Owner state_;
};

} // namespace ringlet
