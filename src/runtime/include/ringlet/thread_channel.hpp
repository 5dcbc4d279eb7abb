#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>
#include <ringlet/error.hpp>
#include <ringlet/event_loop.hpp>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Brings values from other threads to the tasks of a loop, in order. Bounded; any number of threads
/// send, any number of tasks receive.
///
///     ThreadChannel<Job> jobs(*loop, 64);
///     std::thread worker([sender = jobs.sender()]() mutable { sender.send(Job()); });
///     auto job = co_await jobs.recv();
///
/// Lifetime  Outlives the tasks that wait for it (asserted), and goes before its loop. Its senders may
///           outlive it: they then find it closed.
/// Thread    The loop's own; only a `Sender` may be used on others.
template <class T>
class ThreadChannel {
    struct State;

public:
    /// Puts values in. Copies send to the same channel.
    ///
    /// Thread    Any, and several at once.
    class Sender {
    public:
        /// Puts a value in, blocking this thread while the channel is full. Not on the loop's own
        /// thread: that would have to empty it meanwhile.
        ///
        /// Errors    `channel_closed`; `value` has not been moved from.
        Result<void> send(T&& value) { return state_->send(value, true); }

        /// Puts a value in if there is room.
        ///
        /// Errors    `resource_unavailable_try_again` when it is full, `channel_closed`; `value` has
        ///           not been moved from.
        Result<void> try_send(T&& value) { return state_->send(value, false); }

    private:
        friend class ThreadChannel;
        explicit Sender(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
        std::shared_ptr<State> state_;
    };

    /// Holds up to `capacity` values (at least 1) that nobody has received yet.
    ThreadChannel(EventLoop& loop, std::size_t capacity, const char* name = "")
        : state_(std::make_shared<State>(loop.core(), capacity)),
          receivers_("ThreadChannel", name) {
        RINGLET_ASSERT(capacity > 0, "a ThreadChannel needs room for one value");
        state_->channel = this;
    }
    ThreadChannel(const ThreadChannel&) = delete;
    ThreadChannel& operator=(const ThreadChannel&) = delete;
    ~ThreadChannel() {
        close();
        state_->channel = nullptr;
    }

    [[nodiscard]] Sender sender() const noexcept { return Sender(state_); }

    class [[nodiscard]] Awaiter final : public ListedWait {
    public:
        explicit Awaiter(ThreadChannel& channel) noexcept : channel_(&channel) {}
        bool await_ready() const noexcept { return false; }
        template <ScopedPromise P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            CancelScope& in = *waiting.promise().scope();
            const bool suspended = channel_->receivers_.wait_unless(*this, in, waiting, [this] {
                value_ = channel_->state_->take();
                return value_.has_value() || channel_->state_->is_closed();
            });
            if (list != nullptr) in.loop->expect_other_thread(true);
            return suspended;
        }
        Result<T> await_resume() {
            if (value_) return Result<T>(std::in_place, std::move(*value_));
            if (was_cancelled) return std::errc::operation_canceled;
            return Errc::channel_closed;
        }

        void cancel() noexcept override {
            if (list != nullptr) scope->loop->expect_other_thread(false);
            ListedWait::cancel();
        }

    private:
        friend class ThreadChannel;
        ThreadChannel* channel_;
        std::optional<T> value_;
    };

    /// Takes the oldest value out, waiting for one.
    ///
    /// Suspends  If there is none. Those that wait go first come first served.
    /// Cancel    Ends with `operation_canceled`; a value that was handed over first is delivered.
    /// Returns   `Result<T>`.
    /// Errors    `channel_closed`, when everything that was sent has been received.
    [[nodiscard]] Awaiter recv() noexcept { return Awaiter(*this); }

    /// Nothing more can be sent: threads that wait to send, and tasks that wait to receive, end with
    /// `channel_closed`. What is in it can still be received.
    void close() noexcept {
        state_->close();
        while (!receivers_.empty()) wake_one();
    }

private:
    struct State : std::enable_shared_from_this<State> {
        State(LoopCore& of, std::size_t limit) : loop(&of), capacity(limit) {}

        Result<void> send(T& value, bool may_block) {
            std::unique_lock lock(mutex);
            if (may_block) {
                room.wait(lock, [this] { return closed || values.size() < capacity; });
            }
            if (closed) return Errc::channel_closed;
            if (values.size() == capacity) return std::errc::resource_unavailable_try_again;
            values.push_back(std::move(value));
            if (std::exchange(told, true)) return {};
            // Under the lock: the channel is not closed, so that its loop still stands.
            loop->post([self = this->shared_from_this()] { self->arrived(); });
            return {};
        }

        std::optional<T> take() {
            std::optional<T> value;
            {
                const std::lock_guard lock(mutex);
                if (values.empty()) return value;
                value.emplace(std::move(values.front()));
                values.pop_front();
            }
            room.notify_one();
            return value;
        }

        // On the loop's thread: values have come since the last call.
        void arrived() {
            {
                const std::lock_guard lock(mutex);
                told = false;
            }
            if (channel != nullptr) channel->hand_over();
        }

        void close() noexcept {
            {
                const std::lock_guard lock(mutex);
                closed = true;
            }
            room.notify_all();
        }
        bool is_closed() {
            const std::lock_guard lock(mutex);
            return closed;
        }

        LoopCore* loop;
        ThreadChannel* channel = nullptr; // of the loop's thread only
        std::size_t capacity;
        std::mutex mutex;
        std::condition_variable room;
        std::deque<T> values;
        bool told = false; // a letter is on its way to the loop
        bool closed = false;
    };

    void hand_over() {
        while (!receivers_.empty()) {
            auto value = state_->take();
            if (!value) return;
            static_cast<Awaiter&>(receivers_.front()).value_ = std::move(value);
            wake_one();
        }
    }
    void wake_one() noexcept {
        state_->loop->expect_other_thread(false);
        receivers_.wake_one();
    }

    std::shared_ptr<State> state_;
    WaitList receivers_;
};

} // namespace ringlet
