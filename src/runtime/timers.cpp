#include <ringlet/timers.hpp>

#include <ringlet/assert.hpp>

#include <utility>

namespace ringlet {

bool Timers::before(const Timer& left, const Timer& right) noexcept {
    if (left.deadline != right.deadline) return left.deadline < right.deadline;
    return left.order < right.order;
}

// The later root becomes the first child of the earlier one.
Timer* Timers::meld(Timer* left, Timer* right) noexcept {
    if (left == nullptr) return right;
    if (right == nullptr) return left;
    if (before(*right, *left)) std::swap(left, right);
    right->previous = left;
    right->sibling = left->child;
    if (left->child != nullptr) left->child->previous = right;
    left->child = right;
    return left;
}

// Melds a list of siblings: pairs from left to right, then the pairs from right to left. The pairs
// are kept in a list through `previous`, so that no recursion is as deep as the heap is wide.
Timer* Timers::meld_pairs(Timer* first) noexcept {
    Timer* pairs = nullptr;
    while (first != nullptr) {
        Timer* left = first;
        Timer* right = left->sibling;
        first = right != nullptr ? right->sibling : nullptr;
        left->sibling = left->previous = nullptr;
        if (right != nullptr) right->sibling = right->previous = nullptr;
        Timer* pair = meld(left, right);
        pair->previous = pairs;
        pairs = pair;
    }
    Timer* root = nullptr;
    while (pairs != nullptr) {
        Timer* next = std::exchange(pairs->previous, nullptr);
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void Timers::arm(Timer& timer) noexcept {
    timer.order = ++armed_count_;
    timer.child = timer.sibling = timer.previous = nullptr;
    timer.armed = true;
    timer.cancelled = false;
    root_ = meld(root_, &timer);
    ++size_;
}

void Timers::disarm(Timer& timer) noexcept {
    if (!timer.armed) return;
    if (&timer == root_) {
        pop();
        return;
    }
    if (timer.previous->child == &timer) {
        timer.previous->child = timer.sibling;
    } else {
        timer.previous->sibling = timer.sibling;
    }
    if (timer.sibling != nullptr) timer.sibling->previous = timer.previous;
    timer.sibling = timer.previous = nullptr;
    root_ = meld(root_, meld_pairs(std::exchange(timer.child, nullptr)));
    timer.armed = false;
    --size_;
}

Timer& Timers::pop() noexcept {
    Timer& earliest = *root_;
    root_ = meld_pairs(std::exchange(earliest.child, nullptr));
    earliest.armed = false;
    --size_;
    return earliest;
}

void Timers::expire(Clock::time_point now, ReadyQueue& ready) noexcept {
    while (root_ != nullptr && root_->deadline <= now) ready.push(pop());
}

void Timers::cancel_all(ReadyQueue& ready) noexcept {
    while (root_ != nullptr) {
        Timer& timer = pop();
        timer.cancelled = true;
        ready.push(timer);
    }
}

} // namespace ringlet
