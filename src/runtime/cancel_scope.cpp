#include <ringlet/cancel_scope.hpp>

#include <ringlet/assert.hpp>

namespace ringlet {

const char* to_string(CancelReason reason) noexcept {
    switch (reason) {
    case CancelReason::requested: return "requested";
    case CancelReason::deadline: return "deadline";
    case CancelReason::sibling_failed: return "sibling failed";
    case CancelReason::shutdown: return "shutdown";
    }
    return "?";
}

void CancelScope::open(CancelScope& parent, TaskRecord* runs_in_it, bool shielded) noexcept {
    loop = parent.loop;
    task = runs_in_it;
    parent_ = &parent;
    shielded_ = shielded;
    if (!shielded && parent.cancelled_) {
        cancelled_ = true;
        reason_ = parent.reason_;
    }
    if (parent.first_ == nullptr) {
        parent.first_ = previous_ = this;
    } else {
        previous_ = parent.first_->previous_;
        previous_->next_ = this;
        parent.first_->previous_ = this;
    }
}

void CancelScope::close() noexcept {
    if (parent_ == nullptr) return;
    RINGLET_ASSERT(first_ == nullptr, "a scope was left while something inside of it still runs");
    if (parent_->first_ == this) {
        parent_->first_ = next_;
        if (next_ != nullptr) next_->previous_ = previous_;
    } else {
        previous_->next_ = next_;
        CancelScope* after = next_ != nullptr ? next_ : parent_->first_;
        after->previous_ = previous_;
    }
    parent_ = next_ = previous_ = nullptr;
}

// Outside in, without recursion: scopes may be nested as deep as tasks spawn tasks.
void CancelScope::cancel_inside(CancelReason reason, bool through_shields) noexcept {
    CancelScope* scope = this;
    for (;;) {
        const bool reached = scope == this || through_shields || !scope->shielded_;
        const bool enter = reached && (through_shields || !scope->cancelled_);
        if (enter) {
            if (!scope->cancelled_) scope->reason_ = reason;
            scope->cancelled_ = true;
            if (scope->wait != nullptr) scope->wait->cancel();
            if (scope->first_ != nullptr) {
                scope = scope->first_;
                continue;
            }
        }
        while (scope != this && scope->next_ == nullptr) scope = scope->parent_;
        if (scope == this) return;
        scope = scope->next_;
    }
}

void CancelScope::note_answered() noexcept {
    for (CancelScope* scope = this; scope != nullptr && scope->cancelled_; scope = scope->parent_) {
        scope->answered_ = true;
    }
}

} // namespace ringlet
