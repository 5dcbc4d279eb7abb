#pragma once

// Receives into memory that the ring lends. Keeps the promise that each gets a buffer when there is
// data to write into it, in FIFO order if there are too few.

#include <ringlet/detail/operation.hpp>

#include "ring/buffer_queue.hpp"
#include "ring/finished_list.hpp"
#include "ring/loan.hpp"
#include "ring/uring/multishot_receive.hpp"
#include "ring/uring/provided_buffers.hpp"
#include "ring/uring/uring_queues.hpp"
#include "ring/uring/uring_requests.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace ringlet {

/// Lifetime  Ends before the queues, when no receive is in flight.
class UringReceives {
public:
    UringReceives(UringQueues& queues, FinishedList& finished, std::size_t buffer_limit);

    /// Starts a receive, behind those that already wait for a buffer.
    void start(Operation& operation) {
        if (is_shared(operation)) [[unlikely]]
            return start_shared(operation, false);
        if (!buffers_.empty()) [[unlikely]]
            return park_behind_others(operation);
        submit_single(operation);
    }

    /// Starts a receive into the caller's memory.
    void start_plain(Operation& operation);

    /// Answers an operation that waits here, and not in the kernel. Returns false if it does not.
    bool cancel(Operation& operation);

    /// Cancels the receive and puts a poll in its place, which holds a third as much kernel memory.
    void park(Operation& operation) {
        if (operation.standby != Operation::Standby::no || waits_for_multishot(operation))
            return; // it holds nothing
        operation.standby = Operation::Standby::asked;
        uring::submit_cancellation(queues_, uring::name_of(operation));
    }

    /// Before a wait: gives returned buffers to the kernel, or to receives that wait for one. True
    /// if more of those may start at once: the first may have nothing to receive, and then takes no
    /// buffer.
    [[nodiscard]] bool provide();

    void complete(const io_uring_cqe& entry) {
        auto& operation = *uring::address_in<Operation>(entry);
        check_loan(operation);
        if (operation.data != nullptr) buffers_.end_wait();
        if ((entry.flags & IORING_CQE_F_BUFFER) != 0) operation.data = provided_->take(entry);
        if (entry.res <= 0) BufferQueue::take_back(operation);
        if (operation.standby != Operation::Standby::no && go_on_standing_by(operation, entry))
            return;
        if (entry.res == -ENOBUFS && provided_) [[unlikely]]
            return wait_for_buffer(operation);
        if (entry.res == -EAGAIN) [[unlikely]]
            return wait_until_ready(operation);
        finished_.add(operation, entry.res);
    }

    void complete_multishot(const io_uring_cqe& entry);

    /// Before a descriptor is closed: cancels its multishot. Returns false once the kernel has given it
    /// back, or if there is none.
    [[nodiscard]] bool take_back(Descriptor descriptor);
    /// The same for all of them.
    [[nodiscard]] bool take_all_back();

    [[nodiscard]] bool has_received(Descriptor descriptor) const noexcept;
    [[nodiscard]] bool receives_ahead() const noexcept { return multishot_; }

    /// The latest time to look for a buffer again.
    [[nodiscard]] std::optional<Clock::time_point>
    next_look(std::optional<Clock::time_point> deadline) const {
        return buffers_.next_look(deadline);
    }

    [[nodiscard]] std::uint64_t shortages() const noexcept { return buffers_.shortages(); }
    [[nodiscard]] std::uint64_t parked_count() const noexcept { return parked_count_; }

private:
    void submit(Operation& operation) {
        if (is_shared(operation)) [[unlikely]]
            return start_shared(operation, true);
        submit_single(operation);
    }
    void submit_single(Operation& operation) {
        if (!buffers_.lend_to_wait(operation, own_buffers_limit_)) [[unlikely]]
            return submit_without_buffer(operation);
        uring::submit_receive(queues_, operation);
    }
    [[nodiscard]] bool is_shared(const Operation& operation) const noexcept {
        return multishot_ && operation.opcode == Opcode::recv_buffer;
    }
    void submit_without_buffer(Operation& operation);
    void park_behind_others(Operation& operation);
    // Queues it for a buffer, or answers it.
    void queue(Operation& operation);
    void wait_for_buffer(Operation& operation);
    // A poll takes its place: as uring::wait_until_ready.
    void wait_until_ready(Operation& operation);
    void start_shared(Operation& operation, bool is_its_turn);
    void follow(MultishotReceiver& receiver, const MultishotReceiver::Step& step);
    void arm(MultishotReceiver& receiver);
    [[nodiscard]] MultishotReceiver* find(Descriptor descriptor) const noexcept;
    [[nodiscard]] bool waits_for_multishot(const Operation& operation) const noexcept;
    bool go_on_standing_by(Operation& operation, const io_uring_cqe& entry);

    UringQueues& queues_;
    FinishedList& finished_;
    BufferQueue buffers_;
    std::unique_ptr<ProvidedBuffers> provided_; // null: every receive has memory while it waits
    std::size_t own_buffers_limit_;
    bool multishot_;
    std::vector<std::unique_ptr<MultishotReceiver>> receivers_; // see index_of
    bool ran_dry_ = false; // a receive found no provided buffer since the last wait
    std::uint64_t parked_count_ = 0;
};

} // namespace ringlet
