#include "uring_receives.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include <poll.h>

namespace ringlet {

namespace {

// So many receives may have memory of their own while they wait (16 MiB): that is faster than to let the
// kernel choose when data has come, by 5 % of an echo (docs/benchmarks.md), and bounded.
constexpr std::size_t own_buffers_limit = 1024;

} // namespace

UringReceives::UringReceives(UringQueues& queues, FinishedList& finished, std::size_t buffer_limit)
    : queues_(queues), finished_(finished), buffers_(buffer_limit),
      provided_(queues.features().provided_buffers ? ProvidedBuffers::create(queues.ring())
                                                   : nullptr),
      own_buffers_limit_(std::numeric_limits<std::size_t>::max()) {
    if (!provided_) return;
    const std::size_t most = queues.features().own_buffers ? own_buffers_limit : 0;
    own_buffers_limit_ = std::min(most, buffer_limit / 4);
}

bool UringReceives::provide() {
    std::size_t released = buffers_.room();
    if (provided_) {
        if (std::exchange(ran_dry_, false)) [[unlikely]]
            provided_->grow();
        provided_->refill(released);
        released = provided_->count();
    }
    if (buffers_.empty()) [[likely]]
        return false;
    buffers_.release(released, [this](Operation& first) { submit(first); });
    return provided_ && released > 0 && !buffers_.empty();
}

void UringReceives::submit_without_buffer(Operation& operation) {
    if (!provided_) return buffers_.park(operation);
    io_uring_sqe* entry = queues_.next_entry();
    uring::prepare(*entry, IORING_OP_RECV, operation.descriptor, nullptr, 0);
    ProvidedBuffers::prepare(*entry);
    io_uring_sqe_set_data64(entry, uring::name_of(operation));
}

void UringReceives::wait_for_buffer(Operation& operation) {
    ran_dry_ = true;
    // Its cancellation came too late to find it in the kernel, and too early to find it parked.
    if (operation.cancel_requested) return finished_.add(operation, -ECANCELED);
    buffers_.park(operation);
}

// Returns false if the answer is one for whoever waits.
bool UringReceives::go_on_parking(Operation& operation, const io_uring_cqe& entry) {
    using Parking = Operation::Parking;
    const auto before = std::exchange(operation.parking, Parking::no);
    if (before == Parking::asked) {
        if (operation.cancel_requested || entry.res != -ECANCELED) return false;
        ++parked_count_;
        operation.parking = Parking::polls;
        io_uring_sqe* poll = queues_.next_entry();
        io_uring_prep_poll_add(poll, operation.descriptor.number(), POLLIN);
        uring::mark_kind(*poll, operation.descriptor);
        io_uring_sqe_set_data64(poll, uring::name_of(operation));
        return true;
    }
    if (entry.res < 0) return false;
    if (operation.cancel_requested) {
        finished_.add(operation, -ECANCELED);
    } else {
        start(operation);
    }
    return true;
}

} // namespace ringlet
