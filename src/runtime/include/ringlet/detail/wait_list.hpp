#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/intrusive_list.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/result.hpp>

#include <coroutine>
#include <string>

namespace RINGLET_EXPORT ringlet {

class WaitList;

/// A place in a `WaitList`. It lives in the awaiter, so that waiting does not allocate.
class ListedWait : public Wait, public ListHook {
public:
    WaitList* list = nullptr; ///< that it is in, while it waits
    bool was_cancelled = false;

    void cancel() noexcept override;
    [[nodiscard]] std::string describe() const override;

    /// Success when it was woken.
    [[nodiscard]] Result<void> outcome() const noexcept {
        if (was_cancelled) return std::errc::operation_canceled;
        return {};
    }

protected:
    ListedWait() = default;
    // A frame that is destroyed where it stands leaves the line.
    ~ListedWait() {
        if (list != nullptr) unlink();
    }
    // Only for passing an awaiter on before it is awaited: a hook does not move.
    ListedWait(const ListedWait& other) noexcept : Wait(other) {}
    ListedWait& operator=(const ListedWait&) = delete;
};

/// Those that wait for one thing, first come first served. What `Event`, `Mutex` and their relatives
/// are made of.
///
/// Lifetime  Nobody may wait when it goes (asserted, with the names of both sides).
class WaitList {
public:
    /// `kind` and `name` are for messages and must outlive the list; a literal does.
    explicit WaitList(const char* kind, const char* name) noexcept : kind_(kind), name_(name) {}
    WaitList(const WaitList&) = delete;
    WaitList& operator=(const WaitList&) = delete;
    ~WaitList();

    [[nodiscard]] bool empty() const noexcept { return waits_.empty(); }
    [[nodiscard]] ListedWait& front() noexcept { return waits_.front(); }

    /// What `await_suspend` does: goes on at once if `try_now()` says that there is no need to wait,
    /// and queues up otherwise. A cancelled scope is told so first, also when nobody would wait.
    template <class TryNow>
    bool wait_unless(ListedWait& wait, CancelScope& scope, std::coroutine_handle<> waiter,
                     TryNow try_now) {
        LoopCore& loop = *scope.loop;
        const auto admission = loop.admit(scope);
        wait.was_cancelled = admission != LoopCore::Admission::proceed;
        if (wait.was_cancelled) return loop.suspend_refused(admission, wait, scope, waiter);
        if (try_now()) {
            if (loop.may_go_on()) return false;
            loop.suspend(wait, scope, waiter);
            loop.make_ready(wait);
            return true;
        }
        loop.suspend(wait, scope, waiter);
        push(wait);
        return true;
    }

    /// Puts a wait that was suspended already at the end.
    void push(ListedWait& wait) noexcept {
        wait.list = this;
        waits_.push_back(wait);
    }

    /// Takes the oldest out, without resuming it.
    ListedWait& pop() noexcept {
        ListedWait& oldest = waits_.front();
        oldest.unlink();
        oldest.list = nullptr;
        return oldest;
    }

    /// Lets the oldest go on. The list must not be empty.
    ListedWait& wake_one() noexcept {
        ListedWait& oldest = pop();
        oldest.scope->loop->make_ready(oldest);
        return oldest;
    }
    void wake_all() noexcept {
        while (!empty()) wake_one();
    }

    /// `Event "started"`.
    [[nodiscard]] std::string to_string() const;

private:
    IntrusiveList<ListedWait> waits_;
    const char* kind_;
    const char* name_;
};

} // namespace ringlet
