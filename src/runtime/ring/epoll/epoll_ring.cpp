#include "ring/epoll/epoll_ring.hpp"

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>
#include <ringlet/unique_fd.hpp>

#include "ring/buffer_queue.hpp"
#include "ring/epoll/attempt.hpp"
#include "ring/finished_list.hpp"
#include "ring/loan.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <limits>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace ringlet {

namespace {

// Makes completions out of readiness: an operation is tried when its descriptor is believed to be
// ready; if the kernel answers EAGAIN, it waits until an event makes another try worthwhile.
//
// A descriptor is registered once, edge-triggered in both directions: the kernel reports each
// arrival once. So a message costs no epoll_ctl, and a connection with unread data is not reported
// again and again. The ring remembers what it knows: a receive that did not fill its memory got
// everything, so the next one waits for an event before it tries.
class EpollRing final : public Ring {
public:
    EpollRing(UniqueFd epoll, std::size_t buffer_limit) noexcept
        : epoll_(std::move(epoll)), buffers_(buffer_limit) {}

    void start(Operation& operation) override {
        ++stats_.submissions;
        if (operation.fd() < 0) {
            finished_.add(operation, -EBADF);
            return;
        }
        if (operation.opcode == Opcode::send_zero_copy) operation.opcode = Opcode::send;
        if (operation.opcode == Opcode::poll) return start_poll(operation);
        try {
            Operation*& slot = slot_of(operation);
            RINGLET_ASSERT(slot == nullptr, "two operations of one direction on one descriptor");
            started_.push_back(&operation); // what may throw comes first
            slot = &operation;
        } catch (const std::bad_alloc&) {
            finished_.add(operation, -ENOMEM);
        }
    }

    void cancel(Operation& operation) override {
        if (operation.fd() < 0) return;
        if (operation.opcode == Opcode::poll) return finish_poll(operation, -ECANCELED);
        Operation*& slot = slot_of(operation);
        if (slot != &operation) return; // it has its answer already
        buffers_.withdraw(operation);
        finish(slot, -ECANCELED);
    }

    std::span<const Completion> wait(std::optional<Clock::time_point> deadline) override {
        release_queued();
        try_started();
        // Operations just started, such as sends, are mostly answered at once. Then the kernel is
        // asked for events only every second time.
        const bool something_finished = !finished_.empty();
        if (!something_finished || asked_nothing_) {
            asked_nothing_ = false;
            collect_events(something_finished ? Clock::time_point() : buffers_.next_look(deadline));
        } else {
            asked_nothing_ = true;
        }
        return hand_over();
    }

    void close(Descriptor descriptor) noexcept override {
        const UniqueFd fd(descriptor.fd()); // closed at the end
        const auto index = static_cast<std::size_t>(fd.get());
        if (index >= descriptors_.size()) return;
        Watched& closed = descriptors_[index];
        const std::uint32_t next = closed.generation + 1;
        closed = Watched{.generation = next};
    }

    RingStats stats() const noexcept override {
        RingStats stats = stats_;
        stats.buffer_shortages = buffers_.shortages();
        return stats;
    }

private:
    struct Watched {
        Operation* inbound = nullptr;
        Operation* outbound = nullptr;
        std::uint32_t generation = 0; // how often its number has been closed
        bool registered = false;
        bool readable = false; // believed to be: worth a try
        bool writable = true;
        bool ended = false;      // the peer has finished or failed: a try never waits
        bool connecting = false; // the outbound operation's answer comes with an event
    };

    Watched& descriptor_of(const Operation& operation) {
        const auto index = static_cast<std::size_t>(operation.fd());
        if (index >= descriptors_.size()) descriptors_.resize(std::max(index + 1, 2 * index));
        return descriptors_[index];
    }

    Operation*& slot_of(const Operation& operation) {
        Watched& descriptor = descriptor_of(operation);
        return operation.is_outbound() ? descriptor.outbound : descriptor.inbound;
    }

    void finish(Operation*& slot, int result) {
        finished_.add(*std::exchange(slot, nullptr), result);
    }

    void try_started() {
        for (Operation* operation : started_) {
            // It may have been cancelled, and its address used by another operation.
            if (Operation*& slot = slot_of(*operation); slot == operation) attempt(slot);
        }
        started_.clear();
    }

    // Tries receives that found no buffer and can have one now.
    void release_queued() {
        buffers_.release_in_turn([this](Operation& first) { attempt(slot_of(first)); });
    }

    // Tries an operation that has been started, if its descriptor may be ready.
    void attempt(Operation*& slot) {
        Operation& operation = *slot;
        Watched& descriptor = descriptor_of(operation);
        if (operation.opcode == Opcode::connect) return connect(slot, descriptor);
        if (!descriptor.registered && !watch(slot, descriptor)) return;
        if (operation.is_outbound() ? descriptor.writable : descriptor.readable)
            transfer(slot, descriptor);
    }

    // ---- polls of descriptors that others read and write ------------------------------------------

    // Each poll has its own duplicate of the descriptor (dup(2)): the owner may close it and open another with the
    // same number, which epoll(7) would not report.
    void start_poll(Operation& operation) {
        UniqueFd name(::fcntl(operation.fd(), F_DUPFD_CLOEXEC, 0));
        stats_.system_calls += 2;
        if (!name) return finished_.add(operation, -errno);
        const auto events = static_cast<std::uint32_t>(operation.size_bytes); // as poll(2) has them
        epoll_event event{
            .events = events | EPOLLONESHOT,
            .data = {.u64 = poll_mark | reinterpret_cast<std::uintptr_t>(&operation)}};
        const int fd = name.get();
        try {
            polls_.emplace(&operation, std::move(name)); // what may throw comes first
        } catch (const std::bad_alloc&) {
            return finished_.add(operation, -ENOMEM);
        }
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return;
        const int error = errno;
        polls_.erase(&operation);
        const bool is_always_ready = error == EPERM; // a file
        finished_.add(operation,
                      is_always_ready ? static_cast<int>(events & (EPOLLIN | EPOLLOUT)) : -error);
    }

    void finish_poll(Operation& operation, int result) {
        const auto found = polls_.find(&operation);
        if (found == polls_.end()) return; // it has its answer already
        // Closing the duplicate does not do this: the owner still has the descriptor open.
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.get(), nullptr);
        stats_.system_calls += 2;
        polls_.erase(found);
        finished_.add(operation, result);
    }

    // Neither a user-space address nor the name of a descriptor has this bit.
    static constexpr std::uint64_t poll_mark = std::uint64_t{1} << 63;
    // ---- operations ------------------------------------------------------------------------------

    void connect(Operation*& slot, Watched& descriptor) {
        Operation& operation = *slot;
        make_non_blocking(operation.fd());
        ++stats_.system_calls;
        const int answer = ::connect(operation.fd(), static_cast<const sockaddr*>(operation.data),
                                     static_cast<socklen_t>(operation.size_bytes));
        if (answer == 0) return finish(slot, 0);
        if (errno != EINPROGRESS) return finish(slot, -errno);
        descriptor.connecting = true;
        static_cast<void>(watch(slot, descriptor));
    }

    void finish_connect(Operation*& slot, Watched& descriptor) {
        descriptor.connecting = false;
        int error = 0;
        socklen_t size = sizeof error;
        ++stats_.system_calls;
        if (::getsockopt(slot->fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        finish(slot, -error);
    }

    // Registers a descriptor. Returns false if that failed; the operation is then finished.
    bool watch(Operation*& slot, Watched& descriptor) {
        Operation& operation = *slot;
        if (operation.opcode == Opcode::accept || operation.opcode == Opcode::read) {
            make_non_blocking(operation.fd());
        }
        epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                          .data = {.u64 = name_of(operation.fd(), descriptor)}};
        ++stats_.system_calls;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, operation.fd(), &event) == 0) {
            // Data that arrived earlier is reported as an event, too.
            descriptor.registered = true;
            return true;
        }
        if (errno != EPERM) {
            finish(slot, -errno);
            return false;
        }
        // A file, which is always ready.
        descriptor.registered = descriptor.readable = descriptor.ended = true;
        return true;
    }

    static std::uint64_t name_of(int fd, const Watched& descriptor) noexcept {
        return (std::uint64_t{descriptor.generation} << 32 | static_cast<std::uint32_t>(fd)) &
               ~poll_mark;
    }

    void make_non_blocking(int fd) {
        stats_.system_calls += 2;
        const int flags = ::fcntl(fd, F_GETFL);
        if (flags >= 0) ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }

    void transfer(Operation*& slot, Watched& descriptor) {
        Operation& operation = *slot;
        if (operation.takes_buffer()) {
            // An event must not let it overtake receives that wait for a buffer.
            if (BufferQueue::is_queued(operation)) return;
            if (!buffers_.lend(operation)) {
                if (!buffers_.enqueue(operation)) finish(slot, -ENOMEM);
                return;
            }
        }
        check_loan(operation);
        std::size_t size = std::min(operation.rest_bytes(), std::size_t{1} << 30);
        const ssize_t answer = attempt_without_waiting(operation, size, stats_);
        bool& believed_ready = operation.is_outbound() ? descriptor.writable : descriptor.readable;
        const int error = answer < 0 ? errno : 0;
        if (answer <= 0 && operation.takes_buffer()) BufferQueue::take_back(operation);
        if (error == EAGAIN || error == EWOULDBLOCK) {
            believed_ready = false;
            return; // until an event
        }
        // Less than was asked for: there was no more. New data will be an event.
        const bool receives =
            operation.opcode == Opcode::recv || operation.opcode == Opcode::recv_buffer;
        const bool drained = receives && answer >= 0 && static_cast<std::size_t>(answer) < size;
        if (drained) believed_ready = descriptor.ended;
        finish(slot, answer < 0 ? -error : static_cast<int>(answer));
    }

    void collect_events(std::optional<Clock::time_point> deadline) {
        const int count = wait_for_events(deadline);
        for (int i = 0; i < count; ++i) handle(events_[static_cast<std::size_t>(i)]);
    }

    void handle(const epoll_event& event) {
        if ((event.data.u64 & poll_mark) != 0) {
            // It is in `polls_`, or its duplicate would be closed: it is found by address, never dereferenced.
            // NOLINTNEXTLINE(performance-no-int-to-ptr): it was one, with a mark
            auto* operation = reinterpret_cast<Operation*>(event.data.u64 & ~poll_mark);
            return finish_poll(*operation, static_cast<int>(event.events));
        }
        const auto fd = static_cast<std::uint32_t>(event.data.u64);
        Watched& descriptor = descriptors_[fd];
        if (name_of(static_cast<int>(fd), descriptor) != event.data.u64) return; // closed meanwhile
        constexpr std::uint32_t failed = EPOLLERR | EPOLLHUP;
        if ((event.events & (failed | EPOLLRDHUP)) != 0) descriptor.ended = true;
        if ((event.events & (failed | EPOLLRDHUP | EPOLLIN)) != 0) descriptor.readable = true;
        if ((event.events & (failed | EPOLLOUT)) != 0) descriptor.writable = true;
        if (descriptor.inbound != nullptr && descriptor.readable) {
            transfer(descriptor.inbound, descriptor);
        }
        if (descriptor.outbound != nullptr && descriptor.writable) {
            if (descriptor.connecting) {
                finish_connect(descriptor.outbound, descriptor);
            } else {
                transfer(descriptor.outbound, descriptor);
            }
        }
    }

    int wait_for_events(std::optional<Clock::time_point> deadline) {
        ++stats_.system_calls;
        // Compared before subtracting: the difference to the clock's earliest moment would overflow.
        const auto now = Clock::now();
        const auto left = deadline && *deadline > now ? *deadline - now : Clock::duration(0);
        const auto timeout = to_timespec<timespec>(left);
        if (has_pwait2_) {
            const int count = ::epoll_pwait2(epoll_.get(), events_.data(), events_limit,
                                             deadline ? &timeout : nullptr, nullptr);
            if (count >= 0 || errno == EINTR) return count;
            has_pwait2_ = false; // older than Linux 5.11, or a filter that does not know it
        }
        // In milliseconds, and never too early.
        const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        constexpr std::int64_t limit = std::numeric_limits<int>::max();
        const int timeout_ms =
            deadline ? static_cast<int>(std::min<std::int64_t>(rounded, limit)) : -1;
        const int count = ::epoll_wait(epoll_.get(), events_.data(), events_limit, timeout_ms);
        // Any other error lasts: retrying would keep a core busy without serving a connection.
        RINGLET_ASSERT(count >= 0 || errno == EINTR, "the kernel refuses epoll_wait");
        return count;
    }

    std::span<const Completion> hand_over() {
        const auto given = finished_.hand_over();
        stats_.completions += given.size();
        return given;
    }

    // A small batch: received data is answered while its sockets are in the cache.
    static constexpr int events_limit = 64;

    UniqueFd epoll_;
    std::vector<Watched> descriptors_; // by number
    std::vector<Operation*> started_;
    std::unordered_map<const Operation*, UniqueFd> polls_; // with duplicates of their descriptors
    FinishedList finished_;
    BufferQueue buffers_;
    std::array<epoll_event, events_limit> events_{};
    RingStats stats_;
    bool has_pwait2_ = true;
    bool asked_nothing_ = false; // the last wait looked at no events
};

} // namespace

Result<std::unique_ptr<Ring>> make_epoll_ring(const RingOptions& options) {
    UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll) return error_from_errno(errno);
    return std::unique_ptr<Ring>(
        std::make_unique<EpollRing>(std::move(epoll), options.buffer_limit));
}

} // namespace ringlet
