#include "uring_ring.hpp"

#include <ringlet/assert.hpp>
#include <ringlet/error.hpp>

#include "finished_list.hpp"
#include "loan.hpp"
#include "multishot_accept.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

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

// What liburing 2.3 does not know, of Linux 6.10. This feature came with the same kernel as the flag, and
// says so without an attempt.
constexpr std::uint16_t accept_poll_first = 1U << 2; // IORING_ACCEPT_POLL_FIRST
constexpr unsigned recvsend_bundle = 1U << 14;       // IORING_FEAT_RECVSEND_BUNDLE

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
        : ring_(ring), wait_with_timeout_(features.wait_with_timeout),
          multishot_accept_(features.multishot_accept),
          accept_poll_first_(features.accept_poll_first) {
        // Saves the kernel a look-up per system call (Linux 5.18). Where it fails, nothing changes.
        if (features.registered_ring) io_uring_register_ring_fd(&ring_);
    }
    ~UringRing() override {
        // The kernel takes its time with what a ring leaves behind, and a multishot holds its port.
        for (auto& [fd, listener] : listeners_) static_cast<void>(disarm(listener));
        io_uring_queue_exit(&ring_);
    }

    void start(Operation& operation) override {
        const bool shares = multishot_accept_ && operation.opcode == Opcode::accept;
        if (shares) [[unlikely]]
            return start_shared(operation);
        submit(operation);
    }

    void cancel(Operation& operation) override {
        if (operation.opcode == Opcode::accept) {
            const auto found = listeners_.find(operation.fd);
            if (found != listeners_.end() && found->second.waiting() == &operation) {
                return follow(found->second, found->second.cancel(operation));
            }
        }
        submit_cancellation(name_of(operation));
    }

    std::span<const Completion> wait(std::optional<Clock::time_point> deadline) override {
        if (std::exchange(accepted_, false)) {
            for (auto& [fd, listener] : listeners_) follow(listener, listener.rest());
        }
        enter(deadline);
        collect(completions_per_wait_limit);
        const auto given = finished_.hand_over();
        for (const Completion& completion : given) check_loan(*completion.operation);
        stats_.completions += given.size();
        return given;
    }

    void close(UniqueFd fd) noexcept override {
        const auto found = listeners_.find(fd.get());
        if (found == listeners_.end()) return;
        RINGLET_ASSERT(disarm(found->second), "the kernel does not give a listener back");
        listeners_.erase(found);
    }

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
    void submit(Operation& operation) {
        io_uring_sqe* entry = next_entry();
        const auto size = static_cast<unsigned>(
            std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
        switch (operation.opcode) {
        case Opcode::accept:
            io_uring_prep_accept(entry, operation.fd, nullptr, nullptr, SOCK_CLOEXEC);
            // An attempt that finds nobody has made a socket in vain, and waits then.
            if (accept_poll_first_ && backlog_is_empty_) entry->ioprio |= accept_poll_first;
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
        io_uring_sqe_set_data64(entry, name_of(operation));
    }

    // What a completion says of whose it is: an address, which is a multiple of eight, and what it
    // means. The operation itself is not looked at before it has been checked (see check_loan).
    static constexpr std::uint64_t multishot_tag = 1;
    static constexpr std::uint64_t accept_tag = 2;

    static std::uint64_t name_of(const Operation& operation) {
        const auto address = reinterpret_cast<std::uintptr_t>(&operation);
        return operation.opcode == Opcode::accept ? address | accept_tag : address;
    }

    void submit_cancellation(std::uint64_t name) {
        io_uring_sqe* entry = next_entry();
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
        auto& listener = listeners_.try_emplace(operation.fd, operation.fd).first->second;
        follow(listener, listener.start(operation));
    }

    [[gnu::noinline]] void settle_shared(const io_uring_cqe& entry) {
        auto& listener = *address_in<MultishotListener>(entry, multishot_tag);
        follow(listener, listener.answer(entry.res, (entry.flags & IORING_CQE_F_MORE) != 0));
        accepted_ = true;
    }

    void follow(MultishotListener& listener, const MultishotListener::Step& step) {
        using Request = MultishotListener::Request;
        switch (step.request) {
        case Request::nothing: break;
        case Request::arm: {
            io_uring_sqe* entry = next_entry();
            io_uring_prep_multishot_accept(entry, listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
            io_uring_sqe_set_data64(entry, name_of(listener));
            return;
        }
        case Request::take_back: return submit_cancellation(name_of(listener));
        case Request::single_shot: return submit(*step.operation);
        }
        if (step.operation != nullptr) {
            finished_.add(*step.operation, step.result);
        }
    }

    // Takes the multishot back and waits for its last answer: until then it holds the listener's file,
    // and with that the port. What else finishes meanwhile is kept for the next wait.
    [[nodiscard]] bool disarm(MultishotListener& listener) {
        if (const Operation* left = listener.waiting()) follow(listener, listener.cancel(*left));
        for (int attempt = 0; attempt < flush_attempts_limit && listener.is_armed(); ++attempt) {
            // Each time: it may have missed the multishot. Its own answer ends the wait.
            submit_cancellation(name_of(listener));
            ++stats_.system_calls;
            if (!endure(io_uring_submit_and_wait(&ring_, 1))) break;
            collect(std::numeric_limits<std::size_t>::max());
        }
        return !listener.is_armed();
    }

    // ---- the queues ------------------------------------------------------------------------------

    // Takes out of the kernel's queue what makes `limit` answers.
    void collect(std::size_t limit) {
        unsigned seen = 0;
        unsigned head = 0;
        io_uring_cqe* entry = nullptr;
        io_uring_for_each_cqe(&ring_, head, entry) {
            if (finished_.size() >= limit) break;
            ++seen;
            settle(*entry);
        }
        io_uring_cq_advance(&ring_, seen);
    }

    template <class T>
    static T* address_in(const io_uring_cqe& entry, std::uint64_t tag) {
        auto* name = static_cast<std::byte*>(io_uring_cqe_get_data(&entry));
        return reinterpret_cast<T*>(name - (entry.user_data & tag));
    }

    void settle(const io_uring_cqe& entry) {
        const std::uint64_t name = io_uring_cqe_get_data64(&entry);
        if (name == 0) return;
        if ((name & multishot_tag) == 0) {
            // Of whatever listener: on another one the next accept is only a little dearer.
            if ((name & accept_tag) != 0) {
                backlog_is_empty_ = (entry.flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;
            }
            auto* operation = address_in<Operation>(entry, accept_tag);
            finished_.add(*operation, entry.res);
            return;
        }
        settle_shared(entry);
    }

    // One system call: submits, waits, and lets the kernel work completions out.
    void enter(std::optional<Clock::time_point> deadline) {
        ++stats_.system_calls;
        const auto now = deadline ? Clock::now() : Clock::time_point();
        const bool left_by_the_last = io_uring_cq_ready(&ring_) > 0 || !finished_.empty();
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
        RINGLET_ASSERT(endure(answer), "io_uring_enter failed in a way that is our mistake");
    }

    // Returns false for an answer of io_uring_enter(2) that patience does not change.
    static bool endure(int answer) {
        switch (-answer) {
        case EAGAIN:
        case ENOMEM: pause_briefly(); return true;
        case ETIME:
        case EINTR:
        case EBUSY: return true; // reap what is there; what was not submitted goes next time
        default: return answer >= 0;
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
    bool multishot_accept_;
    bool accept_poll_first_;
    bool backlog_is_empty_ = false; // after the last accept
    bool accepted_ = false;         // a listener got an answer since it was looked after
    __kernel_timespec timeout_{};   // read when its request is submitted, which may be a wait later
    RingStats stats_;
    std::unordered_map<int, MultishotListener> listeners_; // by descriptor
    FinishedList finished_;
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
        features.accept_poll_first &= (parameters.features & recvsend_bundle) != 0;
        auto made = std::make_unique<UringRing>(ring, features);
        answer = made->probe();
        if (answer < 0) return explain_refusal(-answer);
        return std::unique_ptr<Ring>(std::move(made));
    }
    return explain_refusal(-answer);
}

} // namespace ringlet
