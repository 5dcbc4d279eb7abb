#include <ringlet/cancel_scope.hpp>

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

// Outside in, without recursion: scopes may be nested as deep as tasks spawn tasks.
void CancelScope::cancel_inside(CancelReason reason, bool through_shields) noexcept {
    if (!cancelled_) origin_ = true;
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
        if (scope->origin_) return;
    }
}

} // namespace ringlet
