#include "ring/uring/uring_accepts.hpp"

#include "ring/loan.hpp"
#include "ring/uring/uring_requests.hpp"

#include <cerrno>
#include <cstdint>
#include <new>

#include <sys/socket.h>

namespace ringlet {

namespace {

// Missing in liburing 2.3; Linux 6.10.
constexpr std::uint16_t accept_poll_first = 1U << 2; // IORING_ACCEPT_POLL_FIRST

std::uint64_t name_of(const MultishotListener& listener) noexcept {
    return uring::name_of(listener, uring::Tag::multishot_accept);
}

} // namespace

UringAccepts::UringAccepts(UringQueues& queues, FinishedList& finished,
                           DirectDescriptors* direct) noexcept
    : queues_(queues), finished_(finished), direct_(direct),
      is_multishot_(queues.features().multishot_accept && direct == nullptr),
      polls_first_(queues.features().accept_poll_first) {}

void UringAccepts::start(Operation& operation) {
    if (is_multishot_) return start_shared(operation);
    submit(operation);
}

bool UringAccepts::cancel(const Operation& operation) {
    MultishotListener* listener = find(operation.fd());
    if (listener == nullptr || listener->waiting() != &operation) return false;
    follow(*listener, listener->cancel(operation));
    return true;
}

// ---- one by one ---------------------------------------------------------------------------------

void UringAccepts::submit(Operation& operation) {
    if (direct_ != nullptr && !direct_->reserve()) return finished_.add(operation, -EMFILE);
    io_uring_sqe* entry = queues_.next_entry();
    io_uring_prep_accept(entry, operation.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (direct_ != nullptr) DirectDescriptors::prepare_accept(*entry);
    // Without a poll first, the kernel makes a socket and discards it if the backlog is empty.
    if (polls_first_ && backlog_is_empty_) entry->ioprio |= accept_poll_first;
    io_uring_sqe_set_data64(entry, uring::name_of(operation));
}

void UringAccepts::complete(const io_uring_cqe& entry) {
    if (direct_ != nullptr && entry.res < 0) direct_->release();
    // Whichever listener it was: if the next accept is on another one, it only costs a little more.
    backlog_is_empty_ = (entry.flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;
    auto& operation = *uring::address_in<Operation>(entry);
    check_loan(operation);
    if (entry.res == -EAGAIN) return uring::wait_until_ready(queues_, finished_, operation);
    finished_.add(operation, entry.res);
}

// ---- one for all of a listener --------------------------------------------------------------------

MultishotListener* UringAccepts::find(int listener) noexcept {
    const auto found = listeners_.find(listener);
    return found == listeners_.end() ? nullptr : &found->second;
}

void UringAccepts::start_shared(Operation& operation) {
    try {
        auto& listener = listeners_.try_emplace(operation.fd(), operation.fd()).first->second;
        follow(listener, listener.start(operation));
    } catch (const std::bad_alloc&) {
        finished_.add(operation, -ENOMEM);
    }
}

void UringAccepts::follow(MultishotListener& listener, const MultishotListener::Step& step) {
    using Request = MultishotListener::Request;
    switch (step.request) {
    case Request::nothing: break;
    case Request::arm: {
        io_uring_sqe* entry = queues_.next_entry();
        io_uring_prep_multishot_accept(entry, listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
        io_uring_sqe_set_data64(entry, name_of(listener));
        return;
    }
    case Request::take_back: return uring::submit_cancellation(queues_, name_of(listener));
    case Request::single_shot: return submit(*step.operation);
    }
    if (step.operation == nullptr) return;
    if (step.result == -EAGAIN) return uring::wait_until_ready(queues_, finished_, *step.operation);
    finished_.add(*step.operation, step.result);
}

void UringAccepts::complete_multishot(const io_uring_cqe& entry) {
    auto& listener = *uring::address_in<MultishotListener>(entry);
    follow(listener, listener.answer(entry.res, (entry.flags & IORING_CQE_F_MORE) != 0));
    has_accepted_ = true;
}

void UringAccepts::take_back_idle() {
    for (auto& [fd, listener] : listeners_) follow(listener, listener.rest());
}

UniqueFd UringAccepts::take_ahead(int listener) noexcept {
    MultishotListener* found = find(listener);
    return found != nullptr ? found->take_ahead() : UniqueFd();
}

bool UringAccepts::take_back(MultishotListener& listener) {
    if (const Operation* left = listener.waiting()) follow(listener, listener.cancel(*left));
    if (!listener.is_armed()) return false;
    // Each time: the last cancellation may have missed the multishot. Its own answer ends the wait.
    uring::submit_cancellation(queues_, name_of(listener));
    return true;
}

bool UringAccepts::take_back(int listener) {
    MultishotListener* found = find(listener);
    return found != nullptr && take_back(*found);
}

bool UringAccepts::take_all_back() {
    bool some = false;
    for (auto& [fd, listener] : listeners_) some |= take_back(listener);
    return some;
}

} // namespace ringlet
