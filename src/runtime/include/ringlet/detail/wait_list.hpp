#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/intrusive_list.hpp>
#include <ringlet/detail/suspension.hpp>

#include <coroutine>
#include <string>

namespace RINGLET_EXPORT ringlet {

class WaitList;

/// Tells threads apart: another address on each.
[[nodiscard]] inline const void* this_thread_mark() noexcept {
    static thread_local char mark = 0;
    return &mark;
}

/// A place in a `WaitList`. It lives in the awaiter, so that waiting does not allocate.
class ListedWait : public Suspension, public ListHook {
public:
    WaitList* list = nullptr; ///< that it is in, while it waits

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
    /// As `Suspension::suspend`; it waits at the end of `line`.
    template <class TryNow>
    [[nodiscard]] bool wait_in(WaitList& line, CancelScope& in, std::coroutine_handle<> coroutine,
                               TryNow try_now);
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

    /// Puts a wait that was suspended already at the end.
    void push(ListedWait& wait) noexcept {
        home_ = this_thread_mark();
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
        check_thread();
        ListedWait& oldest = pop();
        oldest.wake();
        return oldest;
    }
    void wake_all() noexcept {
        check_thread();
        while (!empty()) wake_one();
    }

    /// Aborts on another thread than that of those who have waited here: nothing of it is safe there.
    void check_thread() const noexcept {
        if (home_ != nullptr && home_ != this_thread_mark()) [[unlikely]]
            used_on_other_thread();
    }

    /// `Event "started"`.
    [[nodiscard]] std::string to_string() const;

private:
    [[noreturn, gnu::cold]] void used_on_other_thread() const noexcept;

    IntrusiveList<ListedWait> waits_;
    const void* home_ = nullptr; // the thread of those who wait, since the first
    const char* kind_;
    const char* name_;
};

template <class TryNow>
bool ListedWait::wait_in(WaitList& line, CancelScope& in, std::coroutine_handle<> coroutine,
                         TryNow try_now) {
    return suspend(in, coroutine, try_now, [&] { line.push(*this); });
}

} // namespace ringlet
