#pragma once

#include <ringlet/detail/config.hpp>

#include <atomic>

namespace RINGLET_EXPORT ringlet {

/// A list that many threads push to and one thread drains: no locks, no ABA. The release in `push`
/// and the acquire in `take_all` make the sender's earlier writes visible to the receiver.
///
/// `Node` has `next()` and `set_next(Node*)`. Only the model that proves the memory orders
/// (tests/model) replaces `Atomic`.
///
/// Lifetime  Owns nothing.
/// Thread    `push` from any; `take_all` and `empty` from one.
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

    /// Removes all nodes. Returns the oldest, which links to the others; null if there is none.
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

    /// Nodes may arrive at any moment, but none disappears.
    [[nodiscard]] bool empty() const noexcept {
        return newest_.load(std::memory_order_relaxed) == nullptr;
    }

private:
    Atomic newest_{nullptr};
};

} // namespace ringlet
