#pragma once

// Accepts: each a submission of its own, or one multishot for all of a listener. Keeps the promise that the
// kernel accepts no connection without a slot, and none ahead of time once told to stop.

#include <ringlet/detail/operation.hpp>
#include <ringlet/unique_fd.hpp>

#include "ring/finished_list.hpp"
#include "ring/uring/direct_descriptors.hpp"
#include "ring/uring/multishot_accept.hpp"
#include "ring/uring/uring_queues.hpp"

#include <unordered_map>
#include <utility>

namespace ringlet {

/// Lifetime  Ends before the queues, when the kernel has given every multishot back.
class UringAccepts {
public:
    /// `direct` is null where accepts answer with descriptors of the process.
    UringAccepts(UringQueues& queues, FinishedList& finished, DirectDescriptors* direct) noexcept;

    void start(Operation& operation);

    /// Cancels an accept that waits for a multishot. Returns false if it is a submission of its own.
    bool cancel(const Operation& operation);

    /// Before a wait: takes back multishots for which no accept waits.
    void rest() {
        if (std::exchange(has_accepted_, false)) [[unlikely]]
            take_back_idle();
    }

    void complete(const io_uring_cqe& entry);
    void complete_multishot(const io_uring_cqe& entry);

    /// The oldest connection that was accepted ahead of time; empty if there is none.
    [[nodiscard]] UniqueFd take_ahead(int listener) noexcept;

    /// Cancels a listener's multishot: until its last answer it holds the listener's file, and so the port. Returns
    /// false once the kernel has given it back, or if there is none.
    [[nodiscard]] bool take_back(int listener);
    /// The same for all of them.
    [[nodiscard]] bool take_all_back();

    /// The listener is closed, and its multishot has ended. Closes connections that it accepted ahead.
    void forget(int listener) noexcept { listeners_.erase(listener); }

private:
    void take_back_idle();
    void submit(Operation& operation);
    void start_shared(Operation& operation);
    void follow(MultishotListener& listener, const MultishotListener::Step& step);
    [[nodiscard]] bool take_back(MultishotListener& listener);
    [[nodiscard]] MultishotListener* find(int listener) noexcept;

    UringQueues& queues_;
    FinishedList& finished_;
    DirectDescriptors* direct_;
    bool is_multishot_;
    bool polls_first_;              // the kernel knows accept_poll_first
    bool backlog_is_empty_ = false; // after the last accept
    bool has_accepted_ = false;     // a multishot got an answer since the last wait
    std::unordered_map<int, MultishotListener> listeners_; // by descriptor
};

} // namespace ringlet
