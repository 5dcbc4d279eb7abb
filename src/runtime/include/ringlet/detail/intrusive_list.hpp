#pragma once

#include <ringlet/detail/config.hpp>

namespace RINGLET_EXPORT ringlet {

/// The hook of an `IntrusiveList`: inherit from it. An object is in one list at a time.
struct ListHook {
    ListHook* previous = nullptr;
    ListHook* next = nullptr;

    ListHook() = default;
    ListHook(const ListHook&) = delete;
    ListHook& operator=(const ListHook&) = delete;

    [[nodiscard]] bool is_linked() const noexcept { return next != nullptr; }

    void unlink() noexcept {
        previous->next = next;
        next->previous = previous;
        previous = next = nullptr;
    }
};

/// A doubly linked list of objects that it does not own. Never allocates.
///
/// Lifetime  An object must be removed before it is destroyed.
/// Cost      Every call takes constant time, except the walk.
template <class T>
class IntrusiveList {
public:
    IntrusiveList() noexcept { end_.previous = end_.next = &end_; }
    IntrusiveList(const IntrusiveList&) = delete;
    IntrusiveList& operator=(const IntrusiveList&) = delete;

    [[nodiscard]] bool empty() const noexcept { return end_.next == &end_; }
    [[nodiscard]] T& front() noexcept { return *static_cast<T*>(end_.next); }
    [[nodiscard]] T& back() noexcept { return *static_cast<T*>(end_.previous); }

    void push_back(T& object) noexcept {
        ListHook& hook = object;
        hook.previous = end_.previous;
        hook.next = &end_;
        end_.previous->next = &hook;
        end_.previous = &hook;
    }

    /// Calls `visit(T&)` for each object, oldest first, for as long as it returns true. `visit` may
    /// remove the object it is called with.
    template <class Visit>
    void for_each_while(Visit visit) {
        ListHook* hook = end_.next;
        while (hook != &end_) {
            ListHook* following = hook->next;
            if (!visit(*static_cast<T*>(hook))) return;
            hook = following;
        }
    }

private:
    ListHook end_;
};

} // namespace ringlet
