#include "serve/room.hpp"

#include <utility>

namespace ringlet {

void Room::leave(std::size_t worker) noexcept {
    shares_[worker].live.fetch_sub(1, std::memory_order_relaxed);
    live_.fetch_sub(1);
    if (waiting_.load() == 0 || is_closed_.load()) return;
    const std::lock_guard lock(mutex_);
    for (Share& share : shares_) { // all: a woken worker may have no client to accept
        if (!share.wake) continue;
        waiting_.fetch_sub(1);
        std::exchange(share.wake, nullptr)();
    }
}

void Room::tell_when_free(std::size_t worker, std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    if (shares_[worker].wake) waiting_.fetch_sub(1);
    shares_[worker].wake = std::move(wake);
    if (!shares_[worker].wake) return;
    waiting_.fetch_add(1);
    // A connection may have left before it could see that a worker waits.
    if (free_places() > 0) {
        waiting_.fetch_sub(1);
        std::exchange(shares_[worker].wake, nullptr)();
    }
}

std::optional<std::size_t> Room::idler_than(std::size_t worker) const noexcept {
    const auto live = [this](std::size_t index) {
        return shares_[index].live.load(std::memory_order_relaxed);
    };
    std::size_t idlest = worker;
    for (std::size_t index = 0; index < shares_.size(); ++index) {
        if (live(index) < live(idlest)) idlest = index;
    }
    // A little unevenness is cheaper than a hand-over.
    const std::size_t least = live(idlest);
    if (live(worker) <= least + 1 + least / 8) return std::nullopt;
    return idlest;
}

bool RoomShare::give(std::size_t to, UniqueFd descriptor, bool is_unix,
                     std::shared_ptr<const HandedOver> along) {
    room_->move(worker_, to);
    if (give_(to, std::move(descriptor), is_unix, std::move(along))) return true;
    room_->move(to, worker_);
    return false;
}

} // namespace ringlet
