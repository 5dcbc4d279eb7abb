#pragma once

#include <ringlet/detail/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace RINGLET_EXPORT ringlet {
namespace testing {

/// What kernels and networks do to a program now and then, and a simulation does often.
enum class Fault : std::uint8_t {
    // Harmless: whatever was sent arrives, if the program copes.
    short_recv,            ///< fewer bytes than have arrived
    short_send,            ///< fewer bytes than there is room for
    delayed_completion,    ///< the answer comes some time after what it reports
    reordered_completions, ///< answers come in another order, and not all at once
    full_queue,            ///< submissions reach the kernel before the loop asks for it
    interrupted,           ///< EINTR or EAGAIN
    lost_cancel,           ///< a cancellation is slow, and the operation may be faster
    no_buffer,             ///< a receive waits for a buffer to come back
    late_wake,             ///< the loop sleeps past a deadline, into later events

    // An operation fails; trying again may help.
    connection_aborted,       ///< ECONNABORTED from accept: that client has gone
    too_many_files,           ///< EMFILE from accept and connect
    too_many_files_in_system, ///< ENFILE from accept and connect
    no_buffer_space,          ///< ENOBUFS
    no_memory,                ///< ENOMEM
    frame_allocation,         ///< `std::bad_alloc` for a coroutine, a task or a socket

    // A connection ends; bytes on their way are lost.
    connection_refused, ///< ECONNREFUSED from connect, although there is a listener
    connection_reset,   ///< ECONNRESET
    broken_pipe,        ///< EPIPE from a send
    timed_out,          ///< ETIMEDOUT; the other side may learn of it a quarter of an hour later
    early_end,          ///< the stream ends before everything that was sent has arrived

    // A UDP datagram goes astray: UDP promises nothing.
    lost_datagram,    ///< it never arrives
    doubled_datagram, ///< it arrives twice
    late_datagram     ///< datagrams sent after it arrive before it
};

inline constexpr std::size_t fault_count = static_cast<std::size_t>(Fault::late_datagram) + 1;

/// The name of a fault, as it is written above.
[[nodiscard]] const char* to_string(Fault fault) noexcept;

/// A set of faults.
class FaultSet {
public:
    constexpr FaultSet() noexcept = default;
    constexpr FaultSet(std::initializer_list<Fault> faults) noexcept {
        for (const Fault fault : faults) bits_ |= bit(fault);
    }

    [[nodiscard]] static constexpr FaultSet all() noexcept { return up_to(Fault::late_datagram); }
    [[nodiscard]] static constexpr FaultSet none() noexcept { return {}; }
    /// Those that lose nothing: every byte that was sent must arrive, every client must be served.
    [[nodiscard]] static constexpr FaultSet harmless() noexcept { return up_to(Fault::late_wake); }

    [[nodiscard]] constexpr FaultSet with(Fault fault) const noexcept {
        return FaultSet(bits_ | bit(fault));
    }
    [[nodiscard]] constexpr FaultSet without(Fault fault) const noexcept {
        return FaultSet(bits_ & ~bit(fault));
    }
    [[nodiscard]] constexpr bool has(Fault fault) const noexcept {
        return (bits_ & bit(fault)) != 0;
    }
    friend constexpr bool operator==(FaultSet, FaultSet) noexcept = default;

private:
    explicit constexpr FaultSet(std::uint32_t bits) noexcept : bits_(bits) {}
    static constexpr std::uint32_t bit(Fault fault) noexcept {
        return std::uint32_t{1} << static_cast<unsigned>(fault);
    }
    static constexpr FaultSet up_to(Fault last) noexcept { return FaultSet(2 * bit(last) - 1); }

    std::uint32_t bits_ = 0;
};

/// How often each fault has struck, indexed by its number.
using FaultCounts = std::array<std::uint64_t, fault_count>;

} // namespace testing
} // namespace ringlet
