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
    std::int32_t result = 0; ///< as `Operation::result`
};

/// How a ring is made.
struct RingOptions {
    unsigned entries = 1024;           ///< as `LoopOptions::ring_entries`
    RingFeatures features = {};        ///< as `LoopOptions::features`
    std::size_t buffer_limit = 65'536; ///< as `LoopOptions::buffer_limit`
};

/// The door to a kernel. What a loop wants of it goes through `start`, `cancel` and `wait`.
///
/// Every operation that was started is handed over by `wait` exactly once, cancelled or not; until
/// then its bytes and its address belong to the kernel.
///
/// Thread    The one that made it.
class Ring {
public:
    Ring() = default;
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    virtual ~Ring() = default;

    /// Takes the request in. Reaches the kernel at the next `wait`. Never fails: without memory to note it in,
    /// its answer is -ENOMEM.
    virtual void start(Operation& operation) = 0;

    /// Asks for an operation back. It still ends by its own completion: with -ECANCELED, or as it
    /// would have, when it was faster.
    virtual void cancel(Operation& operation) = 0;

    /// A `recv_buffer` that is in flight has waited for long, and may go on doing so: the ring can give
    /// up what it holds for a quick answer. A ring that holds nothing does nothing.
    virtual void park(Operation&) {}

    /// Submits everything, waits until something has finished or the deadline has passed (forever
    /// without one), and hands over what has finished; on io_uring in one system call. A signal can
    /// end it early, with nothing.
    ///
    /// Lifetime  The span is valid until the next call.
    /// Returns   At most `completions_per_wait_limit` completions; the rest comes with the next
    ///           call.
    virtual std::span<const Completion> wait(std::optional<Clock::time_point> deadline) = 0;

    /// Closes a descriptor that was used here, and on which nothing is in flight.
    virtual void close(Descriptor descriptor) noexcept = 0;

    /// How many accepted connections may be in the ring's own table. 0: there is none, and an accept
    /// answers with a descriptor of the process.
    [[nodiscard]] virtual std::size_t direct_descriptor_limit() const noexcept { return 0; }

    /// Another name of a direct descriptor: one of the process, for system calls.
    ///
    /// Errors    `too_many_files_open`, and what else the kernel answers.
    virtual Result<UniqueFd> install(Descriptor) { return std::errc::bad_file_descriptor; }
    /// The other way: another name, in the ring's own table, of what is a descriptor of the process and remains that.
    ///
    /// Errors    `too_many_files_open`: the table is full; what else the kernel answers.
    virtual Result<Descriptor> adopt(int) { return std::errc::operation_not_supported; }

    /// A connection that the ring has accepted at this listener before anybody asked; empty if there is none.
    [[nodiscard]] virtual UniqueFd take_accepted(int) noexcept { return {}; }

    /// Accepts nobody at this listener until the next accept. No accept is in flight there.
    virtual void stop_accepting(int) noexcept {}

    /// Whether the ring holds bytes of a descriptor that nobody has received yet, or its end.
    [[nodiscard]] virtual bool has_received(Descriptor) const noexcept { return false; }

    /// Whether it receives what nobody has asked for yet, as `has_received` says.
    [[nodiscard]] virtual bool receives_ahead() const noexcept { return false; }

    [[nodiscard]] virtual RingStats stats() const noexcept = 0;

    /// What one `wait` hands over at most, so that a flood of completions cannot keep the loop from
    /// resuming anybody.
    static constexpr std::size_t completions_per_wait_limit = 256;
};

} // namespace ringlet
