#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/intrusive_list.hpp>
#include <ringlet/detail/suspension.hpp>

#include <coroutine>
#include <string>

namespace RINGLET_EXPORT ringlet {

class WaitList;

/// Identifies the calling thread: each has a different address.
[[nodiscard]] inline const void* this_thread_mark() noexcept {
    static thread_local char mark = 0;
    return &mark;
}

/// A place in a `WaitList`. It lives in the awaiter, so that waiting does not allocate.
class ListedWait : public Suspension, public ListHook {
public:
    WaitList* list = nullptr; ///< the list it is in while it waits

    void cancel() noexcept override;
    void abandon() noexcept override { leave_list(); }
    [[nodiscard]] std::string describe() const override;

protected:
    ListedWait() = default;
    ~ListedWait() { leave_list(); }
    // Only for passing an awaiter on before it is awaited: a hook does not move.
    ListedWait(const ListedWait& other) noexcept : Suspension(other) {}
    ListedWait& operator=(const ListedWait&) = delete;

    void leave_list() noexcept {
        if (list == nullptr) return;
        unlink();
        list = nullptr;
    }
    using Suspension::suspend;
    /// Like `Suspension::suspend`; it waits at the end of `line`.
    template <class TryNow>
    [[nodiscard]] bool wait_in(WaitList& line, CancelScope& in, std::coroutine_handle<> coroutine,
                               TryNow try_now);
};

/// Coroutines that wait for one thing, first come first served. `Event`, `Mutex` and their relatives
/// are built from it.
///
/// Lifetime  Outlives its waiters (asserted, with the names of both sides).
class WaitList {
public:
    /// `kind` and `name` are for messages and must outlive the list; a literal does.
    explicit WaitList(const char* kind, const char* name) noexcept : kind_(kind), name_(name) {}
    WaitList(const WaitList&) = delete;
    WaitList& operator=(const WaitList&) = delete;
    ~WaitList();

    [[nodiscard]] bool empty() const noexcept { return waits_.empty(); }
    [[nodiscard]] ListedWait& front() noexcept { return waits_.front(); }

    /// Appends a wait that is already suspended.
    void push(ListedWait& wait) noexcept {
        home_ = this_thread_mark();
        wait.list = this;
        waits_.push_back(wait);
    }

    /// Removes the oldest without resuming it.
    ListedWait& pop() noexcept {
        ListedWait& oldest = waits_.front();
        oldest.unlink();
        oldest.list = nullptr;
        return oldest;
    }

    /// Wakes the oldest. The list must not be empty.
    ListedWait& wake_one() noexcept {
        check_thread();
        ListedWait& oldest = pop();
        oldest.wake();
        return oldest;
    }
    void wake_all() noexcept {
        check_thread();
        while (!empty()) wake_one();
    }

    /// Aborts unless called on the thread of the earlier waiters: nothing here is thread-safe.
    void check_thread() const noexcept {
        if (home_ != nullptr && home_ != this_thread_mark()) [[unlikely]]
            used_on_other_thread();
    }

    /// `Event "started"`.
    [[nodiscard]] std::string to_string() const;

private:
    [[noreturn, gnu::cold]] void used_on_other_thread() const noexcept;

    IntrusiveList<ListedWait> waits_;
    const void* home_ = nullptr; // the thread of the waiters, set by the first one
    const char* kind_;
    const char* name_;
};

template <class TryNow>
bool ListedWait::wait_in(WaitList& line, CancelScope& in, std::coroutine_handle<> coroutine,
                         TryNow try_now) {
    return suspend(in, coroutine, try_now, [&] { line.push(*this); });
}

} // namespace ringlet
