#include <ringlet/detail/timers.hpp>

#include <ringlet/detail/assert.hpp>

#include <utility>

namespace ringlet {

bool Timers::before(const Timer& left, const Timer& right) noexcept {
    if (left.deadline != right.deadline) return left.deadline < right.deadline;
    return left.order_ < right.order_;
}

// The later root becomes the first child of the earlier one.
Timer* Timers::meld(Timer* left, Timer* right) noexcept {
    if (left == nullptr) return right;
    if (right == nullptr) return left;
    if (before(*right, *left)) std::swap(left, right);
    right->previous_ = left;
    right->sibling_ = left->child_;
    if (left->child_ != nullptr) left->child_->previous_ = right;
    left->child_ = right;
    return left;
}

// Melds a list of siblings: pairs from left to right, then the pairs from right to left. The pairs
// are kept in a list through `previous`, because a recursion would be as deep as the heap is wide.
Timer* Timers::meld_pairs(Timer* first) noexcept {
    Timer* pairs = nullptr;
    while (first != nullptr) {
        Timer* left = first;
        Timer* right = left->sibling_;
        first = right != nullptr ? right->sibling_ : nullptr;
        left->sibling_ = left->previous_ = nullptr;
        if (right != nullptr) right->sibling_ = right->previous_ = nullptr;
        Timer* pair = meld(left, right);
        pair->previous_ = pairs;
        pairs = pair;
    }
    Timer* root = nullptr;
    while (pairs != nullptr) {
        Timer* next = std::exchange(pairs->previous_, nullptr);
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void Timers::arm(Timer& timer) noexcept {
    timer.order_ = ++armed_count_;
    timer.child_ = timer.sibling_ = timer.previous_ = nullptr;
    timer.armed_in_ = this;
    root_ = meld(root_, &timer);
    ++size_;
}

void Timers::disarm(Timer& timer) noexcept {
    if (timer.armed_in_ != this) return;
    if (&timer == root_) {
        pop();
        return;
    }
    if (timer.previous_->child_ == &timer) {
        timer.previous_->child_ = timer.sibling_;
    } else {
        timer.previous_->sibling_ = timer.sibling_;
    }
    if (timer.sibling_ != nullptr) timer.sibling_->previous_ = timer.previous_;
    timer.sibling_ = timer.previous_ = nullptr;
    root_ = meld(root_, meld_pairs(std::exchange(timer.child_, nullptr)));
    timer.armed_in_ = nullptr;
    --size_;
}

Timer& Timers::pop() noexcept {
    Timer& earliest = *root_;
    root_ = meld_pairs(std::exchange(earliest.child_, nullptr));
    earliest.armed_in_ = nullptr;
    --size_;
    return earliest;
}

void Timers::expire(Clock::time_point now) noexcept {
    while (root_ != nullptr && root_->deadline <= now) pop().expired();
}

} // namespace ringlet
