// How long the loop waits for the kernel, and what it does with operations that have waited for a long time.

#include <ringlet/detail/loop_core.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ringlet {

// ---- the loop -----------------------------------------------------------------------------------

// When the loop has something to do even without an answer of the kernel.
std::optional<Clock::time_point> LoopCore::next_moment() {
    const auto timer = timers_.next();
    if (unparked_.empty()) {
        park_at_.reset();
        return timer;
    }
    if (!park_at_) park_at_ = later(unparked_.front().since, park_after_);
    return timer ? std::min(*timer, *park_at_) : park_at_;
}

// Called before the loop goes back to the kernel: the wait is not part of a turn.
void LoopCore::end_measured_turn() noexcept {
    const Clock::duration length = Clock::now() - now_;
    if (std::exchange(turn_times_->has_begun, true)) {
        turn_times_->turns.add(length);
        turn_times_->ready_waits.add_evenly(length, resumptions_ - resumptions_at_answers_);
    }
}

// Polls before it sleeps, as long as recent waits have been short enough for that.
std::span<const Completion> LoopCore::wait(std::optional<Clock::time_point> deadline) {
    const bool may_sleep = !deadline || *deadline > now_;
    if (busy_poll_ == Clock::duration::zero() || !may_sleep) [[likely]]
        return ring_->wait(deadline);
    const auto begin = Clock::now();
    const auto patience_ends = later(begin, busy_poll_);
    if (short_waits_ == short_waits_before_busy_poll) {
        ++busy_polls_;
        const auto end = deadline ? std::min(*deadline, patience_ends) : patience_ends;
        do {
            const auto completions = ring_->wait(begin); // which has passed
            if (!completions.empty()) return completions;
        } while (Clock::now() < end);
        if (end != patience_ends) return {}; // the deadline has come
    }
    const auto completions = ring_->wait(deadline);
    const bool was_short = Clock::now() < patience_ends;
    short_waits_ = was_short ? std::min(short_waits_ + 1, short_waits_before_busy_poll) : 0;
    return completions;
}

// ---- long waits ----------------------------------------------------------------------------------

// A few per turn, so that 100,000 receives of the same age do not delay other tasks.
void LoopCore::park_long_waits() {
    std::size_t left = parks_per_turn_limit;
    park_at_.reset();
    unparked_.for_each_while([&](Operation& operation) {
        if (left == 0) {
            park_at_ = now_;
            return false;
        }
        if (now_ - operation.since < park_after_) {
            // At most an eighth late, so that receives which follow soon are parked along with it.
            park_at_ = later(now_, park_after_ / 8);
            return false;
        }
        --left;
        operation.unlink();
        if (operation.idle_limited) parked_.push_back(operation);
        ring_->park(operation);
        unsubmitted_ = true;
        return true;
    });
}

// Visits the idle-limited operations that have been idle for this long, as long as `visit` returns true. The lists are in
// the order of the last progress, so a walk ends at the first younger operation.
template <class Visit>
void LoopCore::for_each_idle(Clock::duration least, Visit visit) {
    for (auto* list : {&parked_, &unparked_, &idle_limited_}) {
        list->for_each_while([&](Operation& operation) {
            if (now_ - operation.since < least) return false;
            return !operation.idle_limited || visit(operation);
        });
    }
}

void LoopCore::cancel_idle(Clock::duration limit) {
    for_each_idle(limit, [&](Operation& operation) {
        if (!operation.cancel_requested) ++idle_timeouts_;
        cancel(operation, ETIMEDOUT);
        return true;
    });
}

std::size_t LoopCore::end_resting(Clock::duration rest, std::size_t at_most) {
    std::size_t count = 0;
    for_each_idle(rest, [&](Operation& operation) {
        if (count == at_most) return false;
        if (!operation.moves_bytes() || operation.is_outbound() || operation.cancel_requested)
            return true;
        cancel(operation, ECANCELED);
        ++count;
        return true;
    });
    return count;
}

void LoopCore::limit_idle_time(Operation& operation) noexcept {
    if (operation.is_linked()) operation.unlink();
    operation.since = now_;
    keep_age(operation);
}

} // namespace ringlet
