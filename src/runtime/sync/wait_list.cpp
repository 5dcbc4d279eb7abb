#include <ringlet/detail/wait_list.hpp>

#include <ringlet/detail/assert.hpp>

namespace ringlet {

void ListedWait::cancel() noexcept {
    if (list == nullptr) return; // already woken: that is its outcome
    abandon();
    end_cancelled();
}

std::string ListedWait::describe() const {
    return list != nullptr ? list->to_string() : std::string("its next turn");
}

WaitList::~WaitList() {
    if (waits_.empty()) [[likely]]
        return;
    const std::string message = to_string() + " was destroyed while " +
                                waits_.front().scope->task->to_string() + " waits for it";
    RINGLET_ASSERT(waits_.empty(), message.c_str());
}

std::string WaitList::to_string() const {
    std::string text = kind_;
    if (*name_ != '\0') text += std::string(" \"") + name_ + "\"";
    return text;
}

void WaitList::used_on_other_thread() const noexcept {
    const std::string message =
        to_string() + " was used on another thread than that of the tasks that wait for it: "
                      "call loop.post([&] { ... }) there, or take a ThreadChannel";
    assertion_failed("it is used on its loop's thread", message.c_str(), __FILE__, __LINE__);
}

} // namespace ringlet
