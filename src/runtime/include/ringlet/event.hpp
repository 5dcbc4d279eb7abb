#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/wait_list.hpp>

namespace RINGLET_EXPORT ringlet {

/// Something that happens, and that any number of tasks can wait for.
///
/// Lifetime  Outlives its waiters (asserted).
/// Thread    One loop's thread. From another thread: `loop.post([&] { event.set(); })`.
class Event {
public:
    /// `name` is for messages and dumps; it must outlive the event, as a literal does.
    explicit Event(const char* name = "") noexcept : waiting_("Event", name) {}

    class [[nodiscard]] Awaiter final : public ListedWait {
    public:
        explicit Awaiter(Event& event) noexcept : event_(&event) {}
        bool await_ready() const noexcept { return false; }
        template <class P>
        bool await_suspend(std::coroutine_handle<P> waiting) {
            return wait_in(event_->waiting_, scope_of(waiting), waiting,
                           [this] { return event_->is_set(); });
        }
        Result<void> await_resume() const noexcept { return outcome(); }

    private:
        Event* event_;
    };

    /// Waits until the event is set.
    ///
    /// Suspends  If it is not set.
    /// Cancel    Ends with `operation_canceled`.
    /// Cost      No allocation.
    [[nodiscard]] Awaiter wait() noexcept { return Awaiter(*this); }

    /// Records that it has happened: all waiters are resumed, and later waits return at once.
    void set() noexcept {
        is_set_ = true;
        waiting_.wake_all();
    }

    /// Records that it has not happened, or must happen again. Waiters that were already woken stay woken.
    void clear() noexcept { is_set_ = false; }

    [[nodiscard]] bool is_set() const noexcept { return is_set_; }

private:
    WaitList waiting_;
    bool is_set_ = false;
};

} // namespace ringlet
