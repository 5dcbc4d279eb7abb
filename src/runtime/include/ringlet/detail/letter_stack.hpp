#pragma once

#include <ringlet/detail/config.hpp>

#include <atomic>

namespace RINGLET_EXPORT ringlet {

/// A list that many threads push to and one takes whole: no locks, no ABA. The release of `push` and
/// the acquire of `take_all` make what the sender wrote before visible to the receiver.
///
/// `Node` has `next()` and `set_next(Node*)`. `Atomic` is replaced only by the model that proves the
/// memory orders (tests/model).
///
/// Lifetime  Owns nothing.
/// Thread    `push` any; `take_all` and `empty` one.
template <class Node, class Atomic = std::atomic<Node*>>
class LetterStack {
public:
    /// Adds a node. Returns true when the list was empty: the receiver must be woken.
    [[nodiscard]] bool push(Node& added) noexcept {
        Node* newest = newest_.load(std::memory_order_relaxed);
        do {
            added.set_next(newest);
        } while (!newest_.compare_exchange_weak(newest, &added, std::memory_order_release,
                                                std::memory_order_relaxed));
        return newest == nullptr;
    }

    /// Takes every node out. Returns the oldest, which leads to the others; null if there is none.
    [[nodiscard]] Node* take_all() noexcept {
        Node* newest = newest_.exchange(nullptr, std::memory_order_acquire);
        Node* oldest = nullptr;
        while (newest != nullptr) {
            Node* before = newest->next();
            newest->set_next(oldest);
            oldest = newest;
            newest = before;
        }
        return oldest;
    }

    /// A node may arrive at any moment, but none goes.
    [[nodiscard]] bool empty() const noexcept {
        return newest_.load(std::memory_order_relaxed) == nullptr;
    }

private:
    Atomic newest_{nullptr};
};

} // namespace ringlet
