#include "ring/uring/uring_ring.hpp"

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "ring/finished_list.hpp"
#include "ring/loan.hpp"
#include "ring/uring/direct_descriptors.hpp"
#include "ring/uring/uring_accepts.hpp"
#include "ring/uring/uring_queues.hpp"
#include "ring/uring/uring_receives.hpp"
#include "ring/uring/uring_requests.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

namespace ringlet {

namespace {

// Missing in liburing 2.3; Linux 6.2.
constexpr unsigned was_copied = 1U << 31; // IORING_NOTIF_USAGE_ZC_COPIED

// After this many attempts, requests that the kernel has not given back stay with it.
constexpr int attempts_limit = 1000;

class UringRing final : public Ring {
public:
    UringRing(UringQueues&& queues, std::size_t buffer_limit)
        : queues_(std::move(queues)), receives_(queues_, finished_, buffer_limit),
          direct_(queues_.features().direct_descriptors ? DirectDescriptors::create(queues_)
                                                        : nullptr),
          accepts_(queues_, finished_, direct_.get()),
          zero_copy_send_(queues_.features().zero_copy_send) {}
    ~UringRing() override {
        // The kernel cleans up after a ring with a delay, and until then a multishot holds its port.
        static_cast<void>(take_back([this] { return receives_.take_all_back(); }));
        static_cast<void>(take_back([this] { return accepts_.take_all_back(); }));
    }

    void start(Operation& operation) override {
        switch (operation.opcode) {
        case Opcode::recv_buffer:
        case Opcode::read_buffer: return receives_.start(operation);
        case Opcode::send: return uring::submit_send(queues_, operation);
        default: return start_other(operation);
        }
    }

    void cancel(Operation& operation) override {
        if (operation.opcode == Opcode::accept && accepts_.cancel(operation)) return;
        if (receives_.cancel(operation)) return;
        const bool polls =
            operation.standby == Operation::Standby::polls && !operation.takes_buffer();
        uring::submit_cancellation(queues_, polls ? uring::name_of(operation, Tag::readiness)
                                                  : uring::name_of(operation));
    }

    void park(Operation& operation) override { receives_.park(operation); }

    std::span<const Completion> wait(std::optional<Clock::time_point> deadline) override {
        accepts_.rest();
        const bool goes_on = receives_.provide();
        const bool left_by_the_last = queues_.has_completions() || !finished_.empty();
        queues_.enter(goes_on || left_by_the_last ? Patience::look : Patience::wait,
                      receives_.next_look(deadline));
        take_completions(completions_per_wait_limit);
        const auto given = finished_.hand_over();
        for (const Completion& completion : given) check_loan(*completion.operation);
        completions_ += given.size();
        return given;
    }

    void close(Descriptor descriptor) noexcept override {
        RINGLET_ASSERT(take_back([&] { return receives_.take_back(descriptor); }),
                       "the kernel does not give a receive back");
        if (descriptor.is_direct()) return direct_->close(descriptor);
        const UniqueFd fd(descriptor.fd()); // closed at the end
        RINGLET_ASSERT(take_back([&] { return accepts_.take_back(fd.get()); }),
                       "the kernel does not give a listener back");
        accepts_.forget(fd.get());
    }

    std::size_t direct_descriptor_limit() const noexcept override {
        return direct_ ? direct_->size() : 0;
    }

    Result<UniqueFd> install(Descriptor descriptor) override {
        const std::int32_t answer = answer_at_once(
            [&](io_uring_sqe& entry) { DirectDescriptors::prepare_install(entry, descriptor); });
        if (answer < 0) return error_from_errno(-answer);
        return UniqueFd(answer);
    }

    Result<Descriptor> adopt(int fd) override {
        if (!direct_) return std::errc::operation_not_supported;
        if (!direct_->reserve()) return std::errc::too_many_files_open;
        std::int32_t place = fd; // the kernel writes where it has put it
        const std::int32_t answer = answer_at_once(
            [&](io_uring_sqe& entry) { DirectDescriptors::prepare_adopt(entry, place); });
        if (answer == 1) return Descriptor::direct(place);
        direct_->release();
        return error_from_errno(answer < 0 ? -answer : EIO);
    }

    UniqueFd take_accepted(int listener) noexcept override { return accepts_.take_ahead(listener); }

    void stop_accepting(int listener) noexcept override {
        static_cast<void>(take_back([&] { return accepts_.take_back(listener); }));
    }

    bool receives_ahead() const noexcept override { return receives_.receives_ahead(); }
    bool has_received(Descriptor descriptor) const noexcept override {
        return receives_.has_received(descriptor);
    }

    RingStats stats() const noexcept override {
        RingStats stats = queues_.stats();
        stats.completions = completions_;
        stats.buffer_shortages = receives_.shortages();
        stats.parked_receives = receives_.parked_count();
        stats.zero_copy_sends = zero_copy_sends_;
        stats.copied_zero_copy_sends = copied_sends_;
        return stats;
    }

private:
    using Patience = UringQueues::Patience;
    using Tag = uring::Tag;

    // A request that the kernel performs in the call itself.
    struct alignas(8) Installation {
        std::optional<std::int32_t> answer;
    };

    // Other completions that arrive meanwhile are kept for the next wait.
    template <class Prepare>
    std::int32_t answer_at_once(Prepare prepare) {
        Installation made;
        io_uring_sqe* entry = queues_.next_entry();
        prepare(*entry);
        io_uring_sqe_set_data64(entry, uring::name_of(made, Tag::install));
        while (!made.answer) wait_for_any();
        return *made.answer;
    }

    // A separate function, so that the path of both halves of an echo stays short.
    [[gnu::noinline]] void start_other(Operation& operation) {
        switch (operation.opcode) {
        case Opcode::recv: return receives_.start_plain(operation);
        case Opcode::read:
        case Opcode::read_some: return uring::submit_stream(queues_, operation, IORING_OP_READ);
        case Opcode::write: return uring::submit_stream(queues_, operation, IORING_OP_WRITE);
        case Opcode::send_message:
        case Opcode::recv_message: return uring::submit_message(queues_, operation);
        case Opcode::read_at: return uring::submit_file(queues_, operation, IORING_OP_READ);
        case Opcode::write_at: return uring::submit_file(queues_, operation, IORING_OP_WRITE);
        case Opcode::poll:
            return uring::submit_poll(queues_, operation.descriptor,
                                      static_cast<unsigned>(operation.size_bytes),
                                      uring::name_of(operation));
        case Opcode::send_zero_copy: return submit_zero_copy(operation);
        case Opcode::connect: return uring::submit_connect(queues_, operation);
        case Opcode::accept: return accepts_.start(operation);
        case Opcode::recv_buffer:
        case Opcode::read_buffer:
        case Opcode::send: break; // see start
        }
    }

    // ---- sends from memory that the kernel does not copy -----------------------------------------

    void submit_zero_copy(Operation& operation) {
        if (!zero_copy_send_) return submit_copying(operation);
        uring::submit_zero_copy(queues_, operation);
    }

    void submit_copying(Operation& operation) {
        operation.opcode = Opcode::send;
        uring::submit_send(queues_, operation);
    }

    // Two answers: what was sent, and that the memory is free; or the first alone.
    void settle_zero_copy(const io_uring_cqe& entry) {
        auto& operation = *uring::address_in<Operation>(entry);
        if ((entry.flags & IORING_CQE_F_NOTIF) == 0) {
            operation.result = entry.res;
            if (entry.res >= 0) ++zero_copy_sends_;
            if ((entry.flags & IORING_CQE_F_MORE) != 0) return;
        } else if ((static_cast<unsigned>(entry.res) & was_copied) != 0 && operation.result >= 0) {
            ++copied_sends_;
        }
        const int answer = operation.result;
        if (answer == -EAGAIN) return uring::wait_until_ready(queues_, finished_, operation);
        const bool is_refused =
            answer == -EOPNOTSUPP || answer == -EINVAL || answer == -ENOMEM || answer == -ENOBUFS;
        if (is_refused && !operation.cancel_requested) return submit_copying(operation);
        finished_.add(operation, answer);
    }

    // ---- the queues ------------------------------------------------------------------------------

    // Calls `ask` until it returns false: the kernel has then given back what it was asked for.
    template <class Ask>
    [[nodiscard]] bool take_back(Ask ask) {
        for (int attempt = 0; ask(); ++attempt) {
            if (attempt == attempts_limit) return false;
            wait_for_any();
        }
        return true;
    }

    // Completions are kept for the next wait.
    void wait_for_any() {
        queues_.enter(Patience::wait);
        take_completions(std::numeric_limits<std::size_t>::max());
    }

    // Takes answers out of the kernel's queue until `limit` of them wait to be handed over.
    void take_completions(std::size_t limit) {
        const std::size_t room = limit - std::min(limit, finished_.size());
        queues_.take(room, [this](const io_uring_cqe& entry) { complete(entry); });
    }

    void complete(const io_uring_cqe& entry) {
        const Tag tag = uring::tag_of(entry);
        if (tag == Tag::recv_buffer) return receives_.complete(entry);
        if (tag != Tag::operation) [[unlikely]]
            return complete_rare(tag, entry);
        if (entry.res == -EAGAIN && entry.user_data != 0) [[unlikely]]
            return complete_unready(entry);
        if (entry.user_data != 0) [[likely]]
            finished_.add(*uring::address_in<Operation>(entry), entry.res);
    }

    // ---- descriptors that others have made non-blocking ------------------------------------------

    [[gnu::noinline]] void complete_unready(const io_uring_cqe& entry) {
        auto& operation = *uring::address_in<Operation>(entry);
        check_loan(operation);
        // A Unix socket gives this answer when its listener's queue is full (connect(2)).
        if (operation.opcode == Opcode::connect) return finished_.add(operation, entry.res);
        uring::wait_until_ready(queues_, finished_, operation);
    }

    void complete_readiness(const io_uring_cqe& entry) {
        auto& operation = *uring::address_in<Operation>(entry);
        check_loan(operation);
        operation.standby = Operation::Standby::no;
        if (entry.res < 0) return finished_.add(operation, entry.res);
        if (operation.cancel_requested) return finished_.add(operation, -ECANCELED);
        start(operation);
    }

    // ---- answers that are rare -------------------------------------------------------------------

    [[gnu::noinline]] void complete_rare(Tag tag, const io_uring_cqe& entry) {
        if (tag == Tag::zero_copy_send) return settle_zero_copy(entry);
        if (tag == Tag::readiness) return complete_readiness(entry);
        if (tag == Tag::multishot_receive) return receives_.complete_multishot(entry);
        if (tag == Tag::multishot_accept) return accepts_.complete_multishot(entry);
        if (tag == Tag::install) {
            uring::address_in<Installation>(entry)->answer = entry.res;
            return;
        }
        accepts_.complete(entry);
    }

    UringQueues queues_;
    FinishedList finished_;
    UringReceives receives_;
    std::unique_ptr<DirectDescriptors> direct_; // null: accepts answer with those of the process
    UringAccepts accepts_;
    bool zero_copy_send_;
    std::uint64_t completions_ = 0;
    std::uint64_t zero_copy_sends_ = 0;
    std::uint64_t copied_sends_ = 0;
};

} // namespace

Result<std::unique_ptr<Ring>> make_uring_ring(const RingOptions& options) {
    auto queues = UringQueues::create(options.entries, options.features);
    if (!queues) return queues.error();
    return std::unique_ptr<Ring>(
        std::make_unique<UringRing>(std::move(*queues), options.buffer_limit));
}

} // namespace ringlet
