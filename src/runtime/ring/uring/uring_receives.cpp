#include "ring/uring/uring_receives.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include <poll.h>

namespace ringlet {

namespace {

// How many receives may have memory of their own while they wait (16 MiB): that is faster than letting
// the kernel choose when data arrives, by 5 % of an echo (docs/results/measurements.md), and bounded.
constexpr std::size_t own_buffers_limit = 1024;

} // namespace

UringReceives::UringReceives(UringQueues& queues, FinishedList& finished, std::size_t buffer_limit)
    : queues_(queues), finished_(finished), buffers_(buffer_limit),
      provided_(queues.features().provided_buffers ? ProvidedBuffers::create(queues) : nullptr),
      own_buffers_limit_(std::numeric_limits<std::size_t>::max()),
      multishot_(queues.features().multishot_receive && provided_) {
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
    if (!provided_) return queue(operation);
    io_uring_sqe* entry = queues_.next_entry();
    const bool is_socket = operation.opcode == Opcode::recv_buffer;
    uring::prepare(*entry, is_socket ? IORING_OP_RECV : IORING_OP_READ, operation.descriptor,
                   nullptr, 0);
    if (!is_socket) entry->off = uring::its_own_position;
    ProvidedBuffers::prepare(*entry);
    io_uring_sqe_set_data64(entry, uring::name_of(operation));
}

void UringReceives::park_behind_others(Operation& operation) { queue(operation); }

void UringReceives::queue(Operation& operation) {
    if (!buffers_.enqueue(operation)) finished_.add(operation, -ENOMEM);
}

void UringReceives::wait_for_buffer(Operation& operation) {
    ran_dry_ = true;
    // Its cancellation came too late to find it in the kernel, and too early to find it parked.
    if (operation.cancel_requested) return finished_.add(operation, -ECANCELED);
    queue(operation);
}

void UringReceives::wait_until_ready(Operation& operation) {
    if (operation.cancel_requested) return finished_.add(operation, -ECANCELED);
    operation.standby = Operation::Standby::polls;
    uring::submit_poll(queues_, operation.descriptor, POLLIN, uring::name_of(operation));
}

bool UringReceives::cancel(Operation& operation) {
    if (waits_for_multishot(operation)) {
        MultishotReceiver& receiver = *find(operation.descriptor);
        follow(receiver, receiver.cancel());
        return true;
    }
    if (!buffers_.withdraw(operation)) return false;
    finished_.add(operation, -ECANCELED);
    return true;
}

// ---- what stays with the kernel -----------------------------------------------------------------

namespace {

std::size_t index_of(Descriptor descriptor) noexcept {
    return 2 * static_cast<std::size_t>(descriptor.number()) + (descriptor.is_direct() ? 1 : 0);
}

} // namespace

MultishotReceiver* UringReceives::find(Descriptor descriptor) const noexcept {
    const std::size_t index = index_of(descriptor);
    return index < receivers_.size() ? receivers_[index].get() : nullptr;
}

bool UringReceives::waits_for_multishot(const Operation& operation) const noexcept {
    if (!multishot_ || operation.descriptor == Descriptor()) return false;
    const MultishotReceiver* receiver = find(operation.descriptor);
    return receiver != nullptr && receiver->waiting() == &operation;
}

// If the connection's multishot has data or will bring some, the bytes come from there.
void UringReceives::start_plain(Operation& operation) {
    MultishotReceiver* receiver = multishot_ ? find(operation.descriptor) : nullptr;
    if (receiver == nullptr || receiver->is_quiet()) {
        return uring::submit_receive(queues_, operation);
    }
    follow(*receiver, receiver->start(operation));
}

void UringReceives::start_shared(Operation& operation, bool is_its_turn) {
    if (operation.descriptor == Descriptor())
        return submit_single(operation); // the kernel refuses it
    const std::size_t index = index_of(operation.descriptor);
    try {
        if (index >= receivers_.size()) receivers_.resize(index + 1);
        if (!receivers_[index])
            receivers_[index] = std::make_unique<MultishotReceiver>(operation.descriptor);
    } catch (const std::bad_alloc&) {
        return finished_.add(operation, -ENOMEM);
    }
    auto& receiver = receivers_[index];
    if (!is_its_turn && !buffers_.empty() && receiver->is_quiet()) return queue(operation);
    follow(*receiver, receiver->start(operation));
}

void UringReceives::follow(MultishotReceiver& receiver, const MultishotReceiver::Step& step) {
    using Request = MultishotReceiver::Request;
    switch (step.request) {
    case Request::nothing: break;
    case Request::arm: return arm(receiver);
    case Request::take_back:
        return uring::submit_cancellation(queues_,
                                          uring::name_of(receiver, uring::Tag::multishot_receive));
    case Request::single_shot:
        if (step.operation->takes_buffer()) return submit_single(*step.operation);
        return uring::submit_receive(queues_, *step.operation);
    case Request::wait_for_buffer: return wait_for_buffer(*step.operation);
    }
    if (step.operation == nullptr) return;
    const bool is_pooled = step.operation->takes_buffer(); // the ring handles the others
    if (step.result == -EAGAIN && is_pooled) return wait_until_ready(*step.operation);
    finished_.add(*step.operation, step.result);
}

void UringReceives::arm(MultishotReceiver& receiver) {
    io_uring_sqe* entry = queues_.next_entry();
    uring::prepare(*entry, IORING_OP_RECV, receiver.descriptor(), nullptr, 0);
    ProvidedBuffers::prepare(*entry);
    entry->ioprio |= IORING_RECV_MULTISHOT;
    io_uring_sqe_set_data64(entry, uring::name_of(receiver, uring::Tag::multishot_receive));
}

void UringReceives::complete_multishot(const io_uring_cqe& entry) {
    auto& receiver = *uring::address_in<MultishotReceiver>(entry);
    std::byte* block = nullptr;
    if ((entry.flags & IORING_CQE_F_BUFFER) != 0) block = provided_->take(entry);
    if (entry.res <= 0 && block != nullptr) BufferPool::give_back(std::exchange(block, nullptr));
    const bool more = (entry.flags & IORING_CQE_F_MORE) != 0;
    follow(receiver, receiver.answer(entry.res, more, block));
}

bool UringReceives::has_received(Descriptor descriptor) const noexcept {
    const MultishotReceiver* receiver = multishot_ ? find(descriptor) : nullptr;
    return receiver != nullptr && receiver->has_received();
}

bool UringReceives::take_back(Descriptor descriptor) {
    MultishotReceiver* receiver = multishot_ ? find(descriptor) : nullptr;
    if (receiver == nullptr) return false;
    if (!receiver->is_armed()) {
        receivers_[index_of(descriptor)].reset();
        return false;
    }
    // Each time: the last cancellation may have missed the multishot. Its own answer ends the wait.
    uring::submit_cancellation(queues_, uring::name_of(*receiver, uring::Tag::multishot_receive));
    return true;
}

bool UringReceives::take_all_back() {
    bool some = false;
    for (auto& receiver : receivers_) {
        if (receiver) some |= take_back(receiver->descriptor());
    }
    return some;
}

// ---- parking ------------------------------------------------------------------------------------

// Returns false if the answer finishes the operation.
bool UringReceives::go_on_standing_by(Operation& operation, const io_uring_cqe& entry) {
    using Standby = Operation::Standby;
    const auto before = std::exchange(operation.standby, Standby::no);
    if (before == Standby::asked) {
        if (operation.cancel_requested || entry.res != -ECANCELED) return false;
        ++parked_count_;
        operation.standby = Standby::polls;
        uring::submit_poll(queues_, operation.descriptor, POLLIN, uring::name_of(operation));
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
