#include "uring_ring.hpp"

#include <ringlet/assert.hpp>
#include <ringlet/error.hpp>

#include "loan.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <utility>

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

namespace ringlet {

namespace {

// io_uring_setup(2) is tried with these, best first; EINVAL means that the kernel lacks a flag.
// The first are for Linux 6.1: completions are worked out when we ask for them, on the one thread
// that asks.
constexpr std::array<unsigned, 3> setup_flags = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
    // Linux 5.19.
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
    IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
};

// Completions that find the queue full are kept (Linux 5.5), and a socket that is not ready is polled
// instead of blocking a worker thread (5.7).
constexpr unsigned needed_features = IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL;

// Completions may wait for a slow turn; beyond this the kernel keeps them in a list of its own,
// which costs it an allocation each. 16 bytes an entry.
constexpr unsigned completion_entries = 8192;

// A queue that is still full after so many attempts to empty it is a kernel that is out of memory
// for good: a second and more.
constexpr int flush_attempts_limit = 1000;

std::error_code explain_refusal(int number) {
    switch (number) {
    case EPERM: {
        int disabled = 0;
        std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
        return disabled != 0 ? Errc::io_uring_disabled : Errc::io_uring_forbidden;
    }
    case ENOSYS: return Errc::io_uring_missing;
    case EOPNOTSUPP: return Errc::io_uring_unsupported;
    case ENOMEM: return Errc::io_uring_locked_memory;
    case EINVAL: return Errc::io_uring_too_old;
    default: return error_from_errno(number);
    }
}

// A first no-op may be told to come again, but not for ever.
constexpr int probe_retries_limit = 50;

bool asks_for_patience(int answer) {
    return answer == -EINTR || answer == -EAGAIN || answer == -EBUSY;
}

// The kernel is out of memory for requests; it recovers when some finish.
void pause_briefly() { ::poll(nullptr, 0, 1); }

class UringRing final : public Ring {
public:
    UringRing(const io_uring& ring, const RingFeatures& features)
        : ring_(ring), wait_with_timeout_(features.wait_with_timeout) {
        // Saves the kernel a look-up per system call (Linux 5.18). Where it fails, nothing changes.
        if (features.registered_ring) io_uring_register_ring_fd(&ring_);
    }
    ~UringRing() override { io_uring_queue_exit(&ring_); }

    void start(Operation& operation) override {
        io_uring_sqe* entry = next_entry();
        const auto size = static_cast<unsigned>(
            std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
        switch (operation.opcode) {
        case Opcode::accept:
            io_uring_prep_accept(entry, operation.fd, nullptr, nullptr, SOCK_CLOEXEC);
            break;
        case Opcode::connect:
            io_uring_prep_connect(entry, operation.fd, static_cast<sockaddr*>(operation.data),
                                  static_cast<socklen_t>(operation.size_bytes));
            break;
        case Opcode::recv:
            io_uring_prep_recv(entry, operation.fd, operation.rest(), size, 0);
            break;
        case Opcode::send:
            io_uring_prep_send(entry, operation.fd, operation.rest(), size, MSG_NOSIGNAL);
            break;
        case Opcode::read:
            // The descriptors that are read (eventfd, signalfd) have no position.
            io_uring_prep_read(entry, operation.fd, operation.rest(), size, 0);
            break;
        }
        io_uring_sqe_set_data(entry, &operation);
    }

    void cancel(Operation& operation) override {
        io_uring_sqe* entry = next_entry();
        io_uring_prep_cancel(entry, &operation, 0);
        // Its own answer (0, ENOENT, EALREADY: all normal) says nothing that the operation's
        // completion does not say better.
        io_uring_sqe_set_data(entry, nullptr);
    }

    std::span<const Completion> wait(std::optional<Clock::time_point> deadline) override {
        enter(deadline);
        std::size_t count = 0;
        unsigned seen = 0;
        unsigned head = 0;
        io_uring_cqe* entry = nullptr;
        io_uring_for_each_cqe(&ring_, head, entry) {
            if (count == completions_per_wait_limit) break;
            ++seen;
            auto* operation = static_cast<Operation*>(io_uring_cqe_get_data(entry));
            if (operation == nullptr) continue;
            check_loan(*operation);
            batch_[count++] = {.operation = operation, .result = entry->res};
        }
        io_uring_cq_advance(&ring_, seen);
        stats_.completions += count;
        return {batch_.data(), count};
    }

    void close(UniqueFd fd) noexcept override { fd.reset(); }

    RingStats stats() const noexcept override { return stats_; }

    // A no-op there and back: what a set-up does not show, a filter of io_uring_enter does. Returns
    // zero or a negative errno.
    int probe() {
        io_uring_prep_nop(io_uring_get_sqe(&ring_));
        io_uring_cqe* entry = nullptr;
        int answer = io_uring_submit_and_wait(&ring_, 1);
        for (int retry = 0; retry < probe_retries_limit && asks_for_patience(answer); ++retry) {
            pause_briefly();
            answer = io_uring_submit_and_wait(&ring_, 1);
        }
        if (answer >= 0) answer = io_uring_peek_cqe(&ring_, &entry);
        if (answer < 0) return answer;
        io_uring_cqe_seen(&ring_, entry);
        return 0;
    }

private:
    // One system call: submits, waits, and lets the kernel work completions out.
    void enter(std::optional<Clock::time_point> deadline) {
        ++stats_.system_calls;
        const auto now = deadline ? Clock::now() : Clock::time_point();
        const bool left_by_the_last = io_uring_cq_ready(&ring_) > 0;
        int answer = 0;
        if (left_by_the_last || (deadline && *deadline <= now)) {
            answer = io_uring_submit_and_get_events(&ring_);
        } else if (deadline && wait_with_timeout_) {
            answer = submit_and_wait_for(*deadline - now);
        } else if (deadline) {
            answer = submit_timeout_and_wait(*deadline - now);
        } else {
            answer = io_uring_submit_and_wait(&ring_, 1);
        }
        switch (-answer) {
        case EAGAIN:
        case ENOMEM: pause_briefly(); break;
        case ETIME:
        case EINTR:
        case EBUSY: break; // reap what is there; what was not submitted goes next time
        default: RINGLET_ASSERT(answer >= 0, "io_uring_enter failed in a way that is our mistake");
        }
    }

    int submit_and_wait_for(Clock::duration left) {
        auto timeout = to_timespec<__kernel_timespec>(left);
        io_uring_cqe* first = nullptr;
        return io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);
    }

    // Where a deadline cannot travel with the wait, it is a request of its own, which ends with the
    // first completion that comes before it.
    int submit_timeout_and_wait(Clock::duration left) {
        timeout_ = to_timespec<__kernel_timespec>(left);
        io_uring_sqe* entry = next_entry();
        io_uring_prep_timeout(entry, &timeout_, 1, 0);
        io_uring_sqe_set_data(entry, nullptr);
        return io_uring_submit_and_wait(&ring_, 1);
    }

    io_uring_sqe* next_entry() {
        ++stats_.submissions;
        for (int attempt = 0; attempt < flush_attempts_limit; ++attempt) {
            if (io_uring_sqe* entry = io_uring_get_sqe(&ring_)) return entry;
            ++stats_.full_queue_flushes;
            ++stats_.system_calls;
            if (io_uring_submit(&ring_) < 0) pause_briefly();
        }
        assertion_failed("io_uring_get_sqe", "the kernel takes no submissions any more", __FILE__,
                         __LINE__);
    }

    io_uring ring_;
    bool wait_with_timeout_;
    __kernel_timespec timeout_{}; // read when its request is submitted, which may be a wait later
    RingStats stats_;
    std::array<Completion, completions_per_wait_limit> batch_;
};

} // namespace

Result<std::unique_ptr<Ring>> make_uring_ring(unsigned entries, const RingFeatures& wanted) {
    int answer = -EINVAL;
    for (const unsigned flags : setup_flags) {
        if (!wanted.defer_taskrun && (flags & IORING_SETUP_DEFER_TASKRUN) != 0) continue;
        io_uring ring{};
        io_uring_params parameters{};
        parameters.flags = flags;
        parameters.cq_entries = std::max(completion_entries, 2 * entries);
        answer = io_uring_queue_init_params(std::max(entries, 1U), &ring, &parameters);
        if (answer == -EINVAL) continue;
        if (answer < 0) return explain_refusal(-answer);
        if ((parameters.features & needed_features) != needed_features) {
            io_uring_queue_exit(&ring);
            return Errc::io_uring_too_old;
        }
        RingFeatures features = wanted;
        features.wait_with_timeout &= (parameters.features & IORING_FEAT_EXT_ARG) != 0;
        auto made = std::make_unique<UringRing>(ring, features);
        answer = made->probe();
        if (answer < 0) return explain_refusal(-answer);
        return std::unique_ptr<Ring>(std::move(made));
    }
    return explain_refusal(-answer);
}

} // namespace ringlet
