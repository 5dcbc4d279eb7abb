#include "ring/uring/uring_queues.hpp"

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <utility>

#include <poll.h>

namespace ringlet {

namespace {

// io_uring_setup(2) is tried with these, best first; EINVAL means that the kernel lacks a flag.
// The first are for Linux 6.1: completion work runs when we ask for completions, on the one thread
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

// Missing in liburing 2.3. A feature flag shows, without a try, what else the same kernel has.
constexpr unsigned recvsend_bundle = 1U << 14; // IORING_FEAT_RECVSEND_BUNDLE, Linux 6.10
constexpr unsigned no_iowait = 1U << 17;       // IORING_FEAT_NO_IOWAIT, Linux 6.15
constexpr unsigned enter_no_iowait = 1U << 7;  // IORING_ENTER_NO_IOWAIT, Linux 6.15

// From io_uring_register(2), Linux 5.18: enumerators, so no macro shows whether a header has them.
constexpr unsigned register_ring_fds = 20;   // IORING_REGISTER_RING_FDS
constexpr unsigned unregister_ring_fds = 21; // IORING_UNREGISTER_RING_FDS
constexpr unsigned any_place = ~0U;          // the kernel chooses

// Completions may wait for a slow turn; beyond this the kernel keeps them in a list of its own,
// which costs it an allocation each. 16 bytes an entry.
constexpr unsigned completion_entries = 8192;

// If the queue is still full after this many attempts to empty it, over a second, the kernel is out
// of memory for good.
constexpr int flush_attempts_limit = 1000;

// How often the first no-op may be told to try again.
constexpr int probe_retries_limit = 50;

std::error_code explain_refusal(std::error_code refusal) {
    if (refusal.category() != std::generic_category()) return refusal;
    switch (refusal.value()) {
    case EPERM: {
        int disabled = 0;
        std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
        return disabled != 0 ? Errc::io_uring_disabled : Errc::io_uring_forbidden;
    }
    case ENOSYS: return Errc::io_uring_missing;
    case EOPNOTSUPP: return Errc::io_uring_unsupported;
    case ENOMEM: return Errc::io_uring_locked_memory;
    case EINVAL: return Errc::io_uring_too_old;
    default: return refusal;
    }
}

bool asks_for_patience(int answer) {
    return answer == -EINTR || answer == -EAGAIN || answer == -EBUSY;
}

// The kernel is out of memory for requests; it recovers when some finish.
void pause_briefly() { ::poll(nullptr, 0, 1); }

// Returns false for an error of io_uring_enter(2) that waiting does not cure.
bool endure(int answer) {
    switch (-answer) {
    case EAGAIN:
    case ENOMEM: pause_briefly(); return true;
    case ETIME:
    case EINTR:
    case EBUSY: return true; // reap what is there; what was not submitted goes next time
    default: return answer >= 0;
    }
}

} // namespace

Result<UringQueues> UringQueues::create(unsigned entries, const RingFeatures& wanted) {
    std::error_code refusal;
    for (const unsigned flags : setup_flags) {
        if (!wanted.defer_taskrun && (flags & IORING_SETUP_DEFER_TASKRUN) != 0) continue;
        io_uring_params parameters{};
        parameters.flags = flags;
        parameters.cq_entries = std::max(completion_entries, 2 * entries);
        auto memory = QueueMemory::create(std::max(entries, 1U), parameters);
        if (!memory) {
            refusal = memory.error();
            if (refusal == std::errc::invalid_argument) continue;
            return explain_refusal(refusal);
        }
        if ((parameters.features & needed_features) != needed_features) {
            return Errc::io_uring_too_old;
        }
        RingFeatures features = wanted;
        features.wait_with_timeout &= (parameters.features & IORING_FEAT_EXT_ARG) != 0;
        features.accept_poll_first &= (parameters.features & recvsend_bundle) != 0;
        const bool knows_no_iowait = (parameters.features & no_iowait) != 0;
        UringQueues made(std::move(*memory), features, knows_no_iowait ? enter_no_iowait : 0);
        const int answer = made.probe();
        if (answer < 0) return explain_refusal(error_from_errno(-answer));
        return made;
    }
    return explain_refusal(refusal);
}

UringQueues::UringQueues(QueueMemory memory, const RingFeatures& features,
                         unsigned enter_flags) noexcept
    : memory_(std::move(memory)), features_(features), enter_flags_(enter_flags),
      enter_name_(static_cast<unsigned>(memory_.fd())) {
    // Saves the kernel a look-up per system call (Linux 5.18). Where it fails, nothing changes.
    io_uring_rsrc_update place{};
    place.offset = any_place;
    place.data = enter_name_;
    if (features.registered_ring && enroll(register_ring_fds, &place, 1) == 1) {
        enter_name_ = place.offset;
        enter_flags_ |= IORING_ENTER_REGISTERED_RING;
    }
}

// A registered ring would stay in the thread's table, along with the connections in it.
UringQueues::~UringQueues() {
    const bool is_registered = (enter_flags_ & IORING_ENTER_REGISTERED_RING) != 0;
    if (memory_.fd() < 0 || !is_registered) return; // it has moved
    io_uring_rsrc_update place{};
    place.offset = enter_name_;
    enroll(unregister_ring_fds, &place, 1);
}

// Sends a no-op there and back: set-up does not show a filter of io_uring_enter, but this does.
// Returns zero or a negative errno.
int UringQueues::probe() {
    io_uring_prep_nop(next_entry());
    int answer = submit_and(1, IORING_ENTER_GETEVENTS, nullptr, 0);
    for (int retry = 0; retry < probe_retries_limit && asks_for_patience(answer); ++retry) {
        pause_briefly();
        answer = submit_and(1, IORING_ENTER_GETEVENTS, nullptr, 0);
    }
    if (answer < 0) return answer;
    answer = -EAGAIN;
    take(1, [&](const io_uring_cqe& entry) { answer = entry.res; });
    if (answer < 0) return answer;
    stats_ = RingStats();
    return 0;
}

int UringQueues::submit_and(unsigned min_complete, unsigned flags, void* argument,
                            std::size_t size) {
    ++stats_.system_calls;
    __atomic_store_n(memory_.submission_tail, tail_, __ATOMIC_RELEASE);
    return io_uring_enter2(enter_name_, tail_ - *memory_.submission_head, min_complete,
                           flags | enter_flags_, static_cast<sigset_t*>(argument), size);
}

void UringQueues::enter(Patience patience, std::optional<Clock::time_point> deadline) {
    const auto now = deadline ? Clock::now() : Clock::time_point();
    const bool waits = patience == Patience::wait && (!deadline || *deadline > now);
    const bool is_timed = waits && deadline;
    const unsigned min_complete = waits ? 1 : 0;
    int answer = 0;
    if (is_timed && features_.wait_with_timeout) {
        auto timeout = to_timespec<__kernel_timespec>(*deadline - now);
        io_uring_getevents_arg argument{};
        argument.sigmask_sz = _NSIG / 8;
        argument.ts = reinterpret_cast<std::uintptr_t>(&timeout);
        answer = submit_and(min_complete, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                            sizeof argument);
    } else {
        if (is_timed) {
            // A timeout request, which the first completion before it also ends.
            timeout_ = to_timespec<__kernel_timespec>(*deadline - now);
            io_uring_sqe* entry = next_entry();
            io_uring_prep_timeout(entry, &timeout_, 1, 0);
            io_uring_sqe_set_data(entry, nullptr);
        }
        answer = submit_and(min_complete, IORING_ENTER_GETEVENTS, nullptr, _NSIG / 8);
    }
    RINGLET_ASSERT(endure(answer), "io_uring_enter failed in a way that is our mistake");
}

void UringQueues::flush() {
    for (int attempt = 0; attempt < flush_attempts_limit && is_full(); ++attempt) {
        ++stats_.full_queue_flushes;
        if (submit_and(0, 0, nullptr, _NSIG / 8) < 0) pause_briefly();
    }
    RINGLET_ASSERT(!is_full(), "the kernel takes no submissions any more");
}

RingStats UringQueues::stats() const noexcept {
    RingStats stats = stats_;
    stats.completion_overflows = *memory_.completion_overflow;
    return stats;
}

} // namespace ringlet
