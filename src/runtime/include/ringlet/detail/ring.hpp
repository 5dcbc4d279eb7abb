#pragma once

#include <ringlet/backend.hpp>
#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/descriptor.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/result.hpp>
#include <ringlet/statistics.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace RINGLET_EXPORT ringlet {

/// The kernel's answer to one operation.
struct Completion {
    Operation* operation = nullptr;
    std::int32_t result = 0; ///< see `Operation::result`
};

/// Options for creating a ring.
struct RingOptions {
    unsigned entries = 1024;           ///< see `LoopOptions::ring_entries`
    RingFeatures features = {};        ///< see `LoopOptions::features`
    std::size_t buffer_limit = 65'536; ///< see `LoopOptions::buffer_limit`
};

/// The interface to a kernel. A loop makes its requests through `start`, `cancel` and `wait`.
///
/// `wait` hands over every started operation exactly once, cancelled or not; until then its bytes
/// and its address belong to the kernel.
///
/// Thread    The one that created it.
class Ring {
public:
    Ring() = default;
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    virtual ~Ring() = default;

    /// Accepts the request, which reaches the kernel at the next `wait`. Never fails: without memory to record the
    /// request, its answer is -ENOMEM.
    virtual void start(Operation& operation) = 0;

    /// Asks the kernel to cancel an operation. It still ends by its own completion: with -ECANCELED, or
    /// normally if it was faster.
    virtual void cancel(Operation& operation) = 0;

    /// A `recv_buffer` in flight has waited a long time, and may wait longer: the ring can give up what
    /// it holds for a quick answer. A ring that holds nothing does nothing.
    virtual void park(Operation&) {}

    /// Submits everything, waits until something finishes or the deadline passes (forever without one),
    /// and hands over what has finished; on io_uring in one system call. A signal can end the wait early,
    /// with no completions.
    ///
    /// Lifetime  The span is valid until the next call.
    /// Returns   At most `completions_per_wait_limit` completions; the next call returns the rest.
    virtual std::span<const Completion> wait(std::optional<Clock::time_point> deadline) = 0;

    /// Closes a descriptor that was used here and has nothing in flight.
    virtual void close(Descriptor descriptor) noexcept = 0;

    /// How many accepted connections fit in the ring's own table. 0: there is no table, and an accept
    /// returns a descriptor of the process.
    [[nodiscard]] virtual std::size_t direct_descriptor_limit() const noexcept { return 0; }

    /// Duplicates a direct descriptor as one of the process, for system calls.
    ///
    /// Errors    `too_many_files_open`, and whatever else the kernel returns.
    virtual Result<UniqueFd> install(Descriptor) { return std::errc::bad_file_descriptor; }
    /// The reverse: duplicates a descriptor of the process, which stays open, in the ring's own table.
    ///
    /// Errors    `too_many_files_open`: the table is full; whatever else the kernel returns.
    virtual Result<Descriptor> adopt(int) { return std::errc::operation_not_supported; }

    /// A connection that the ring accepted at this listener before it was asked to; empty if there is none.
    [[nodiscard]] virtual UniqueFd take_accepted(int) noexcept { return {}; }

    /// Stops accepting at this listener until the next accept. No accept may be in flight there.
    virtual void stop_accepting(int) noexcept {}

    /// Whether the ring holds unreceived bytes of a descriptor, or its end of stream.
    [[nodiscard]] virtual bool has_received(Descriptor) const noexcept { return false; }

    /// Whether it receives data before it is asked to; see `has_received`.
    [[nodiscard]] virtual bool receives_ahead() const noexcept { return false; }

    [[nodiscard]] virtual RingStats stats() const noexcept = 0;

    /// The most that one `wait` hands over, so that a flood of completions cannot keep the loop from
    /// resuming coroutines.
    static constexpr std::size_t completions_per_wait_limit = 256;
};

} // namespace ringlet
