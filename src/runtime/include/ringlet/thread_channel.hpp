#pragma once

#include <ringlet/detail/aligned_optional.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>
#include <ringlet/error.hpp>
#include <ringlet/event_loop.hpp>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Passes values from other threads to the tasks of a loop, in order. Bounded; any number of threads
/// can send and any number of tasks can receive.
///
///     ThreadChannel<Job> jobs(*loop, 64);
///     std::thread worker([sender = jobs.sender()]() mutable { sender.send(Job()); });
///     auto job = co_await jobs.recv();
///
/// Lifetime  Outlives its waiting tasks (asserted), but not its loop. Its senders may outlive it: they
///           then find it closed.
/// Thread    One loop's thread; only a `Sender` may be used on others.
template <class T>
class ThreadChannel {
    struct State;

public:
    /// Puts values in. Copies send to the same channel.
    ///
    /// Thread    Any, and several at once.
    class Sender {
    public:
        /// Puts a value in, blocking this thread while the channel is full. Never call it on the loop's own
        /// thread, which has to empty the channel.
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

    /// Holds up to `capacity` values (at least 1) not yet received.
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
        // Only for passing it on before it is awaited.
        Awaiter(const Awaiter& other) noexcept : ListedWait(other), channel_(other.channel_) {}
        Awaiter& operator=(const Awaiter&) = delete;
        ~Awaiter() {
            abandon();
            if (value_ && is_suspended()) channel_->state_->put_back(*value_);
        }
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            const auto try_now = [this] {
                channel_->state_->take_into(value_);
                return value_.has_value() || channel_->state_->is_closed();
            };
            return suspend(scope_of(waiting), waiting, try_now, [this] {
                channel_->receivers_.push(*this);
                scope->loop->expect_other_thread(true);
            });
        }
        Result<T> await_resume() {
            if (move_failed_) std::rethrow_exception(move_failed_);
            if (value_) return Result<T>(std::in_place, std::move(*value_));
            if (was_cancelled) return std::errc::operation_canceled;
            return Errc::channel_closed;
        }

        void abandon() noexcept override {
            if (list != nullptr) scope->loop->expect_other_thread(false);
            leave_list();
        }

    private:
        friend class ThreadChannel;
        ThreadChannel* channel_;
        AlignedOptional<T> value_;
        std::exception_ptr move_failed_;
    };

    /// Takes the oldest value out, waiting for one.
    ///
    /// Suspends  If the channel is empty. Waiting receivers go in FIFO order.
    /// Cancel    Ends with `operation_canceled`; a value handed over before that is delivered.
    /// Returns   `Result<T>`.
    /// Errors    `channel_closed`, once everything that was sent has been received.
    [[nodiscard]] Awaiter recv() noexcept { return Awaiter(*this); }

    /// Closes the channel: nothing more can be sent. Threads waiting to send and tasks waiting to receive
    /// end with `channel_closed`. Values in it can still be received.
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
            if (values.size() >= capacity) return std::errc::resource_unavailable_try_again;
            // Everything that may fail comes first. Under the lock the channel is not closed, so its loop still exists.
            std::unique_ptr<Mailbox::Letter> letter;
            if (!told)
                letter = LoopCore::letter([self = this->shared_from_this()] { self->arrived(); });
            values.push_back(std::move(value));
            if (letter) loop->post_letter(std::move(letter));
            told = true;
            return {};
        }

        template <class Optional>
        void take_into(Optional& taken) {
            {
                const std::lock_guard lock(mutex);
                if (values.empty()) return;
                taken.emplace(std::move(values.front()));
                values.pop_front();
            }
            room.notify_one();
        }
        // May exceed the capacity by one.
        void put_back(T& value) noexcept {
            try {
                const std::lock_guard lock(mutex);
                values.push_front(std::move(value));
            } catch (...) { // the value is lost
            }
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

    // Noexcept for the loop: an exception from moving a value goes to the receiver, and the value stays.
    void hand_over() noexcept {
        while (!receivers_.empty()) {
            auto& receiver = static_cast<Awaiter&>(receivers_.front());
            try {
                state_->take_into(receiver.value_);
            } catch (...) {
                receiver.move_failed_ = std::current_exception();
            }
            if (!receiver.value_ && !receiver.move_failed_) return;
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
