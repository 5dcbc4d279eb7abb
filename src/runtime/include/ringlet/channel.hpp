#pragma once

#include <ringlet/detail/aligned_optional.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>
#include <ringlet/error.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Hands values from task to task, in order. Bounded, with any number of senders and receivers.
///
///     Channel<std::string> lines(16);
///     auto sent = co_await lines.send(std::move(line));
///     auto line = co_await lines.recv();
///
/// Lifetime  Outlives its waiters (asserted). Values not yet received are destroyed with it.
/// Thread    One loop's thread; see `ThreadChannel` for messages from other threads.
template <class T>
class Channel {
public:
    /// Holds up to `capacity` values not yet received. With 0 a sender waits until its value is
    /// taken. `name` must outlive the channel, as a literal does.
    ///
    /// Cost      Allocates its memory here, and never again.
    explicit Channel(std::size_t capacity, const char* name = "")
        : senders_("Channel::send", name), receivers_("Channel::recv", name), capacity_(capacity),
          slots_(capacity > 0 ? std::make_unique<std::optional<T>[]>(capacity) : nullptr) {}

    class [[nodiscard]] SendAwaiter final : public ListedWait {
    public:
        SendAwaiter(Channel& channel, T& value) noexcept : channel_(&channel), value_(&value) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return wait_in(channel_->senders_, scope_of(waiting), waiting, [this] {
                is_refused_ = channel_->closed_;
                return is_refused_ || channel_->try_send_from(*value_);
            });
        }
        Result<void> await_resume() const {
            if (move_failed_) std::rethrow_exception(move_failed_);
            if (is_refused_) return Errc::channel_closed;
            return outcome();
        }

    private:
        friend class Channel;
        Channel* channel_;
        T* value_;
        std::exception_ptr move_failed_;
        bool is_refused_ = false;
    };

    class [[nodiscard]] RecvAwaiter final : public ListedWait {
    public:
        explicit RecvAwaiter(Channel& channel) noexcept : channel_(&channel) {}
        // Only for passing it on before it is awaited.
        RecvAwaiter(const RecvAwaiter& other) noexcept
            : ListedWait(other), channel_(other.channel_) {}
        RecvAwaiter& operator=(const RecvAwaiter&) = delete;
        ~RecvAwaiter() {
            if (value_ && is_suspended()) channel_->put_back(*value_);
        }
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return wait_in(channel_->receivers_, scope_of(waiting), waiting, [this] {
                channel_->take_into(value_);
                return value_.has_value() || channel_->closed_;
            });
        }
        Result<T> await_resume() {
            if (value_) return Result<T>(std::in_place, std::move(*value_));
            if (was_cancelled) return std::errc::operation_canceled;
            return Errc::channel_closed;
        }

    private:
        friend class Channel;
        Channel* channel_;
        AlignedOptional<T> value_;
    };

    /// Puts a value in, waiting for room.
    ///
    /// Suspends  If the channel is full. Waiting senders go in FIFO order.
    /// Cancel    Ends with `operation_canceled`.
    /// Returns   `Result<void>`. On error `value` has not been moved from: nothing is lost.
    /// Errors    `channel_closed`. An exception from moving `value` is thrown here, even if a receiver moves it.
    /// Cost      No allocation.
    [[nodiscard]] SendAwaiter send(T&& value) noexcept { return SendAwaiter(*this, value); }

    /// Takes the oldest value out, waiting for one.
    ///
    /// Suspends  If the channel is empty. Waiting receivers go in FIFO order.
    /// Cancel    Ends with `operation_canceled`; a value handed over before that is delivered.
    /// Returns   `Result<T>`.
    /// Errors    `channel_closed`, once everything that was sent has been received. An exception from moving
    ///           the value is thrown; the value stays in the channel unless it was already handed over.
    /// Cost      No allocation.
    [[nodiscard]] RecvAwaiter recv() noexcept { return RecvAwaiter(*this); }

    /// Puts a value in if there is room. Otherwise, or after `close`, `value` is not moved from.
    [[nodiscard]] bool try_send(T&& value) { return !closed_ && try_send_from(value); }

    /// Takes the oldest value out, if there is one.
    [[nodiscard]] std::optional<T> try_recv() {
        std::optional<T> value;
        take_into(value);
        return value;
    }

    /// Closes the channel: nothing more can be sent, and the values in it can still be received.
    /// Waiting senders and receivers end with `channel_closed`. Closing twice does nothing.
    void close() noexcept {
        closed_ = true;
        while (!senders_.empty()) static_cast<SendAwaiter&>(senders_.wake_one()).is_refused_ = true;
        receivers_.wake_all();
    }

    [[nodiscard]] bool is_closed() const noexcept { return closed_; }
    /// The number of values not yet received.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

private:
    static_assert(std::is_move_constructible_v<T>,
                  "a Channel moves its values: T must have a move constructor");

    bool try_send_from(T& value) {
        if (!receivers_.empty()) {
            static_cast<RecvAwaiter&>(receivers_.front()).value_.emplace(std::move(value));
            receivers_.wake_one();
            return true;
        }
        if (size_ == capacity_) return false;
        store(value);
        return true;
    }
    void store(T& value) {
        std::size_t last = first_ + size_;
        if (last >= capacity_) last -= capacity_;
        slots_[last].emplace(std::move(value));
        ++size_;
    }

    // Into an empty optional.
    template <class Optional>
    void take_into(Optional& taken) {
        if (size_ > 0) {
            taken.emplace(std::move(*slots_[first_]));
            slots_[first_].reset();
            first_ = first_ + 1 == capacity_ ? 0 : first_ + 1;
            --size_;
            take_from_senders([this](T& value) { store(value); });
        } else { // then senders wait only if the capacity is 0
            take_from_senders([&taken](T& value) { taken.emplace(std::move(value)); });
        }
    }
    // Gives `take` the value of the oldest waiting sender. If moving it throws, that sender gets the
    // exception and the next one is tried.
    template <class Take>
    void take_from_senders(Take take) {
        while (!senders_.empty()) {
            auto& sender = static_cast<SendAwaiter&>(senders_.front());
            try {
                take(*sender.value_);
            } catch (...) {
                sender.move_failed_ = std::current_exception();
            }
            senders_.wake_one();
            if (!sender.move_failed_) return;
        }
    }
    // For a receiver that is destroyed before it has taken the value handed to it.
    void put_back(T& value) noexcept {
        if (size_ == capacity_) return;
        const std::size_t before = (first_ == 0 ? capacity_ : first_) - 1;
        try {
            slots_[before].emplace(std::move(value));
        } catch (...) {
            return;
        }
        first_ = before;
        ++size_;
    }

    WaitList senders_;
    WaitList receivers_;
    std::size_t capacity_;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    bool closed_ = false;
    std::unique_ptr<std::optional<T>[]> slots_;
};

} // namespace ringlet
