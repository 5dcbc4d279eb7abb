#pragma once

// How many connections may be served, by all workers together, and how many each has.

#include <ringlet/unique_fd.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace ringlet {

struct HandedOver;

/// Thread    Any.
class Room {
public:
    Room(std::size_t limit, std::size_t workers) : limit_(limit), shares_(workers) {}

    /// Takes a place for a worker, if there is one.
    bool try_enter(std::size_t worker) noexcept {
        // The order matters: a caller that gets a place freed after `close` must see that it is closed.
        if (live_.fetch_add(1) >= limit_ || is_closed_.load()) {
            live_.fetch_sub(1);
            return false;
        }
        shares_[worker].live.fetch_add(1, std::memory_order_relaxed);
        return true;
    }
    void leave(std::size_t worker) noexcept;
    /// From now on freed places stay empty.
    void close() noexcept { is_closed_.store(true); }
    [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
    [[nodiscard]] std::size_t worker_count() const noexcept { return shares_.size(); }
    [[nodiscard]] std::size_t free_places() const noexcept {
        const std::size_t live = live_.load();
        return live < limit_ && !is_closed_.load() ? limit_ - live : 0;
    }
    [[nodiscard]] std::size_t live() const noexcept {
        return live_.load(std::memory_order_relaxed);
    }
    /// Moves a taken place from one worker to another.
    void move(std::size_t from, std::size_t to) noexcept {
        shares_[from].live.fetch_sub(1, std::memory_order_relaxed);
        shares_[to].live.fetch_add(1, std::memory_order_relaxed);
    }
    /// A worker that has clearly fewer connections than this one, if there is one.
    [[nodiscard]] std::optional<std::size_t> idler_than(std::size_t worker) const noexcept;

    /// Calls `wake` once, on any thread, when a place is free; an empty one withdraws the request.
    void tell_when_free(std::size_t worker, std::function<void()> wake);

private:
    struct alignas(64) Share {
        std::atomic<std::size_t> live{0};
        std::function<void()> wake; // under the mutex
    };

    std::size_t limit_;
    std::atomic<std::size_t> live_{0};
    std::atomic<bool> is_closed_{false};
    std::atomic<std::size_t> waiting_{0};
    std::mutex mutex_;
    std::vector<Share> shares_;
};

/// One worker's share. A single worker with one listener needs none: its group of connections has the limit.
class RoomShare {
public:
    using Give = std::function<bool(std::size_t worker, UniqueFd descriptor, bool is_unix,
                                    std::shared_ptr<const HandedOver> along)>;

    RoomShare() = default;
    RoomShare(std::shared_ptr<Room> room, std::size_t worker, Give give)
        : room_(std::move(room)), worker_(worker), give_(std::move(give)) {}

    [[nodiscard]] bool is_shared() const noexcept {
        return room_ != nullptr && room_->worker_count() > 1;
    }
    [[nodiscard]] std::size_t worker() const noexcept { return worker_; }
    [[nodiscard]] bool try_enter() noexcept {
        return room_ == nullptr || room_->try_enter(worker_);
    }
    void leave() noexcept {
        if (room_ != nullptr) room_->leave(worker_);
    }
    [[nodiscard]] std::optional<std::size_t> idler_worker() const noexcept {
        return room_ == nullptr ? std::nullopt : room_->idler_than(worker_);
    }
    [[nodiscard]] std::size_t free_places() const noexcept {
        return room_ == nullptr ? std::numeric_limits<std::size_t>::max() : room_->free_places();
    }
    [[nodiscard]] bool has_room() const noexcept { return free_places() > 0; }
    [[nodiscard]] std::size_t limit() const noexcept {
        return room_ == nullptr ? std::numeric_limits<std::size_t>::max() : room_->limit();
    }
    /// Gives a connection with its place to another worker; false if that takes no more: the place is kept.
    bool give(std::size_t to, UniqueFd descriptor, bool is_unix,
              std::shared_ptr<const HandedOver> along);
    void tell_when_free(std::function<void()> wake) {
        if (room_ != nullptr) room_->tell_when_free(worker_, std::move(wake));
    }

private:
    std::shared_ptr<Room> room_;
    std::size_t worker_ = 0;
    Give give_;
};

} // namespace ringlet
