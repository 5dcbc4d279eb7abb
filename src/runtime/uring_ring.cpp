#include "uring_ring.hpp"

#include <ringlet/assert.hpp>
#include <ringlet/error.hpp>

#include "buffer_queue.hpp"
#include "direct_descriptors.hpp"
#include "finished_list.hpp"
#include "loan.hpp"
#include "multishot_accept.hpp"
#include "provided_buffers.hpp"
#include "uring_queues.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>

namespace ringlet {

namespace {

// What liburing 2.3 does not know, of Linux 6.10.
constexpr std::uint16_t accept_poll_first = 1U << 2; // IORING_ACCEPT_POLL_FIRST

// So many receives may have memory of their own while they wait (16 MiB): that is faster than to let the
// kernel choose when data has come, by 5 % of an echo (docs/benchmarks.md), and bounded.
constexpr std::size_t own_buffers_limit = 1024;

// A listener that the kernel has not given back after so many attempts stays with it.
constexpr int disarm_attempts_limit = 1000;

class UringRing final : public Ring {
public:
    UringRing(UringQueues&& queues, std::size_t buffer_limit)
        : queues_(std::move(queues)), buffers_(buffer_limit),
          direct_(queues_.features().direct_descriptors ? DirectDescriptors::create(queues_.ring())
                                                        : nullptr),
          multishot_accept_(queues_.features().multishot_accept && !direct_),
          accept_poll_first_(queues_.features().accept_poll_first) {
        if (queues_.features().provided_buffers) {
            provided_ = ProvidedBuffers::create(queues_.ring());
        }
        if (provided_) {
            const std::size_t most = queues_.features().own_buffers ? own_buffers_limit : 0;
            own_buffers_limit_ = std::min(most, buffer_limit / 4);
        }
    }
    ~UringRing() override {
        // The kernel takes its time with what a ring leaves behind, and a multishot holds its port.
        for (auto& [fd, listener] : listeners_) static_cast<void>(disarm(listener));
    }

    void start(Operation& operation) override {
        if (operation.opcode == Opcode::recv_buffer) return start_in_turn(operation);
        if (operation.moves_bytes()) [[likely]]
            return submit_transfer(operation);
        if (operation.opcode == Opcode::connect) return submit_connect(operation);
        if (multishot_accept_) return start_shared(operation);
        submit_accept(operation);
    }

    void cancel(Operation& operation) override {
        if (operation.opcode == Opcode::accept) {
            const auto found = listeners_.find(operation.fd());
            if (found != listeners_.end() && found->second.waiting() == &operation) {
                return follow(found->second, found->second.cancel(operation));
            }
        }
        if (buffers_.withdraw(operation)) return finished_.add(operation, -ECANCELED);
        submit_cancellation(name_of(operation));
    }

    // The receive is asked back, and a poll takes its place: it holds a third of the kernel's memory.
    void park(Operation& operation) override {
        if (BufferQueue::is_parked(operation)) return; // it holds nothing
        operation.parking = Operation::Parking::asked;
        submit_cancellation(name_of(operation));
    }

    std::span<const Completion> wait(std::optional<Clock::time_point> deadline) override {
        if (std::exchange(accepted_, false)) {
            for (auto& [fd, listener] : listeners_) follow(listener, listener.rest());
        }
        const bool goes_on = provide_buffers();
        const bool left_by_the_last = queues_.has_completions() || !finished_.empty();
        queues_.enter(goes_on || left_by_the_last ? Patience::look : Patience::wait,
                      buffers_.next_look(deadline));
        collect(completions_per_wait_limit);
        const auto given = finished_.hand_over();
        for (const Completion& completion : given) check_loan(*completion.operation);
        completions_ += given.size();
        return given;
    }

    void close(Descriptor descriptor) noexcept override {
        if (descriptor.is_direct()) return direct_->close(descriptor);
        const UniqueFd fd(descriptor.fd()); // closed at the end
        const auto found = listeners_.find(fd.get());
        if (found == listeners_.end()) return;
        RINGLET_ASSERT(disarm(found->second), "the kernel does not give a listener back");
        listeners_.erase(found);
    }

    std::size_t direct_descriptor_limit() const noexcept override {
        return direct_ ? direct_->size() : 0;
    }

    // What else finishes meanwhile is kept for the next wait.
    Result<UniqueFd> install(Descriptor descriptor) override {
        std::optional<std::int32_t> answer;
        io_uring_sqe* entry = queues_.next_entry();
        DirectDescriptors::prepare_install(*entry, descriptor);
        io_uring_sqe_set_data64(entry, reinterpret_cast<std::uintptr_t>(&answer) | install_tag);
        while (!answer) {
            queues_.enter(Patience::wait);
            collect(std::numeric_limits<std::size_t>::max());
        }
        if (*answer < 0) return error_from_errno(-*answer);
        return UniqueFd(*answer);
    }

    RingStats stats() const noexcept override {
        RingStats stats = queues_.stats();
        stats.completions = completions_;
        stats.buffer_shortages = buffers_.shortages();
        stats.parked_receives = parked_receives_;
        return stats;
    }

private:
    using Patience = UringQueues::Patience;

    void submit_transfer(Operation& operation) {
        // In the order of Opcode.
        static constexpr std::array<unsigned char, 4> opcodes = {IORING_OP_RECV, IORING_OP_RECV,
                                                                 IORING_OP_SEND, IORING_OP_READ};
        io_uring_sqe* entry = queues_.next_entry();
        const auto index = static_cast<std::size_t>(operation.opcode) -
                           static_cast<std::size_t>(Opcode::recv_buffer);
        const auto size = static_cast<unsigned>(
            std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
        // The descriptors that are read (eventfd, signalfd) have no position.
        io_uring_prep_rw(opcodes[index], entry, operation.descriptor.number(), operation.rest(),
                         size, 0);
        name_descriptor(*entry, operation);
        entry->msg_flags = operation.opcode == Opcode::send ? MSG_NOSIGNAL : 0;
        io_uring_sqe_set_data64(entry, name_of(operation));
    }

    static void name_descriptor(io_uring_sqe& entry, const Operation& operation) noexcept {
        if (operation.descriptor.is_direct()) entry.flags |= IOSQE_FIXED_FILE;
    }

    void submit_connect(Operation& operation) {
        io_uring_sqe* entry = queues_.next_entry();
        io_uring_prep_connect(entry, operation.fd(), static_cast<sockaddr*>(operation.data),
                              static_cast<socklen_t>(operation.size_bytes));
        io_uring_sqe_set_data(entry, &operation);
    }

    void submit_accept(Operation& operation) {
        if (direct_ && !direct_->reserve()) return finished_.add(operation, -EMFILE);
        io_uring_sqe* entry = queues_.next_entry();
        io_uring_prep_accept(entry, operation.fd(), nullptr, nullptr, SOCK_CLOEXEC);
        if (direct_) DirectDescriptors::prepare_accept(*entry);
        // An attempt that finds nobody has made a socket in vain, and waits then.
        if (accept_poll_first_ && backlog_is_empty_) entry->ioprio |= accept_poll_first;
        io_uring_sqe_set_data64(entry, name_of(operation));
    }

    // ---- receives into memory that the ring lends ------------------------------------------------

    // Behind those that wait for a buffer already.
    void start_in_turn(Operation& operation) {
        if (!buffers_.empty()) [[unlikely]]
            return buffers_.park(operation);
        start_recv_buffer(operation);
    }

    void start_recv_buffer(Operation& operation) {
        if (buffers_.lend_to_wait(operation, own_buffers_limit_)) return submit_transfer(operation);
        if (!provided_) return buffers_.park(operation);
        io_uring_sqe* entry = queues_.next_entry();
        io_uring_prep_rw(IORING_OP_RECV, entry, operation.descriptor.number(), nullptr, 0, 0);
        name_descriptor(*entry, operation);
        ProvidedBuffers::prepare(*entry);
        io_uring_sqe_set_data64(entry, name_of(operation));
    }

    // Before a wait: what handlers have given back goes to the kernel, or to those who wait for it.
    // True if more of those may start at once: who was first may have nothing to receive, and then takes
    // no buffer.
    [[nodiscard]] bool provide_buffers() {
        std::size_t released = buffers_.room();
        if (provided_) {
            if (std::exchange(ran_dry_, false)) [[unlikely]]
                provided_->grow();
            provided_->refill(released);
            released = provided_->count();
        }
        if (buffers_.empty()) [[likely]]
            return false;
        buffers_.release(released, [this](Operation& first) { start_recv_buffer(first); });
        return provided_ && released > 0 && !buffers_.empty();
    }

    void settle_recv_buffer(const io_uring_cqe& entry) {
        auto& operation = *address_in<Operation>(entry, buffer_tag);
        check_loan(operation);
        if (operation.data != nullptr) buffers_.end_wait();
        if ((entry.flags & IORING_CQE_F_BUFFER) != 0) operation.data = provided_->take(entry);
        if (entry.res <= 0) BufferQueue::take_back(operation);
        if (operation.parking != Operation::Parking::no && go_on_parking(operation, entry)) return;
        if (entry.res == -ENOBUFS && provided_) [[unlikely]] {
            ran_dry_ = true;
            // Its cancellation came too late to find it in the kernel, and too early to find it parked.
            if (operation.cancel_requested) return finished_.add(operation, -ECANCELED);
            return buffers_.park(operation);
        }
        finished_.add(operation, entry.res);
    }

    // Returns false if the answer is one for whoever waits.
    [[gnu::noinline]] bool go_on_parking(Operation& operation, const io_uring_cqe& entry) {
        using Parking = Operation::Parking;
        const auto before = std::exchange(operation.parking, Parking::no);
        if (before == Parking::asked) {
            if (operation.cancel_requested || entry.res != -ECANCELED) return false;
            ++parked_receives_;
            operation.parking = Parking::polls;
            io_uring_sqe* poll = queues_.next_entry();
            io_uring_prep_poll_add(poll, operation.descriptor.number(), POLLIN);
            name_descriptor(*poll, operation);
            io_uring_sqe_set_data64(poll, name_of(operation));
            return true;
        }
        if (entry.res < 0) return false;
        if (operation.cancel_requested) {
            finished_.add(operation, -ECANCELED);
        } else {
            start_in_turn(operation);
        }
        return true;
    }

    // What a completion says of whose it is: an address, which is a multiple of eight, and what it
    // means. The operation itself is not looked at before it has been checked (see check_loan).
    static constexpr std::uint64_t multishot_tag = 1;
    static constexpr std::uint64_t accept_tag = 2;
    static constexpr std::uint64_t install_tag = multishot_tag | accept_tag;
    static constexpr std::uint64_t buffer_tag = 4;

    static std::uint64_t name_of(const Operation& operation) {
        const auto address = reinterpret_cast<std::uintptr_t>(&operation);
        if (operation.opcode == Opcode::recv_buffer) return address | buffer_tag;
        return operation.opcode == Opcode::accept ? address | accept_tag : address;
    }

    void submit_cancellation(std::uint64_t name) {
        io_uring_sqe* entry = queues_.next_entry();
        io_uring_prep_cancel64(entry, name, 0);
        // Its own answer (0, ENOENT, EALREADY: all normal) says nothing that the operation's
        // completion does not say better.
        io_uring_sqe_set_data(entry, nullptr);
    }

    // ---- what many accepts share -----------------------------------------------------------------

    static std::uint64_t name_of(const MultishotListener& listener) {
        return reinterpret_cast<std::uintptr_t>(&listener) | multishot_tag;
    }

    // Apart, so that the way of all other operations stays short.
    [[gnu::noinline]] void start_shared(Operation& operation) {
        auto& listener = listeners_.try_emplace(operation.fd(), operation.fd()).first->second;
        follow(listener, listener.start(operation));
    }

    void settle_shared(const io_uring_cqe& entry) {
        auto& listener = *address_in<MultishotListener>(entry, multishot_tag);
        follow(listener, listener.answer(entry.res, (entry.flags & IORING_CQE_F_MORE) != 0));
        accepted_ = true;
    }

    void follow(MultishotListener& listener, const MultishotListener::Step& step) {
        using Request = MultishotListener::Request;
        switch (step.request) {
        case Request::nothing: break;
        case Request::arm: {
            io_uring_sqe* entry = queues_.next_entry();
            io_uring_prep_multishot_accept(entry, listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
            io_uring_sqe_set_data64(entry, name_of(listener));
            return;
        }
        case Request::take_back: return submit_cancellation(name_of(listener));
        case Request::single_shot: return submit_accept(*step.operation);
        }
        if (step.operation != nullptr) {
            finished_.add(*step.operation, step.result);
        }
    }

    // Takes the multishot back and waits for its last answer: until then it holds the listener's file,
    // and with that the port. What else finishes meanwhile is kept for the next wait.
    [[nodiscard]] bool disarm(MultishotListener& listener) {
        if (const Operation* left = listener.waiting()) follow(listener, listener.cancel(*left));
        for (int attempt = 0; attempt < disarm_attempts_limit && listener.is_armed(); ++attempt) {
            // Each time: it may have missed the multishot. Its own answer ends the wait.
            submit_cancellation(name_of(listener));
            queues_.enter(Patience::wait);
            collect(std::numeric_limits<std::size_t>::max());
        }
        return !listener.is_armed();
    }

    // ---- the queues ------------------------------------------------------------------------------

    // Takes answers out of the kernel's queue: as many as there is room for, if `limit` of them can wait
    // to be handed over.
    void collect(std::size_t limit) {
        const std::size_t room = limit - std::min(limit, finished_.size());
        queues_.collect(room, [this](const io_uring_cqe& entry) { settle(entry); });
    }

    template <class T>
    static T* address_in(const io_uring_cqe& entry, std::uint64_t tag) {
        auto* name = static_cast<std::byte*>(io_uring_cqe_get_data(&entry));
        return reinterpret_cast<T*>(name - (entry.user_data & tag));
    }

    void settle(const io_uring_cqe& entry) {
        const std::uint64_t name = io_uring_cqe_get_data64(&entry);
        if ((name & buffer_tag) != 0) return settle_recv_buffer(entry);
        if ((name & (multishot_tag | accept_tag)) != 0) [[unlikely]]
            return settle_accept(entry);
        if (name != 0) [[likely]]
            finished_.add(*address_in<Operation>(entry, 0), entry.res);
    }

    [[gnu::noinline]] void settle_accept(const io_uring_cqe& entry) {
        const std::uint64_t name = io_uring_cqe_get_data64(&entry);
        if ((name & install_tag) == install_tag) {
            *address_in<std::optional<std::int32_t>>(entry, install_tag) = entry.res;
            return;
        }
        if ((name & multishot_tag) != 0) return settle_shared(entry);
        if (direct_ && entry.res < 0) direct_->release();
        // Of whatever listener: on another one the next accept is only a little dearer.
        backlog_is_empty_ = (entry.flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;
        finished_.add(*address_in<Operation>(entry, accept_tag), entry.res);
    }

    UringQueues queues_;
    BufferQueue buffers_;
    std::unique_ptr<ProvidedBuffers> provided_; // null: every receive has memory while it waits
    std::size_t own_buffers_limit_ = std::numeric_limits<std::size_t>::max();
    bool ran_dry_ = false; // a receive found no provided buffer since the last wait
    std::unique_ptr<DirectDescriptors> direct_; // null: accepts answer with those of the process
    bool multishot_accept_;
    bool accept_poll_first_;
    bool backlog_is_empty_ = false; // after the last accept
    bool accepted_ = false;         // a listener got an answer since it was looked after
    std::uint64_t completions_ = 0;
    std::uint64_t parked_receives_ = 0;
    std::unordered_map<int, MultishotListener> listeners_; // by descriptor
    FinishedList finished_;
};

} // namespace

Result<std::unique_ptr<Ring>> make_uring_ring(const RingOptions& options) {
    auto queues = UringQueues::create(options.entries, options.features);
    if (!queues) return queues.error();
    return std::unique_ptr<Ring>(
        std::make_unique<UringRing>(std::move(*queues), options.buffer_limit));
}

} // namespace ringlet
