#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/descriptor.hpp>
#include <ringlet/detail/intrusive_list.hpp>
#include <ringlet/wait.hpp>

#include <cstddef>
#include <cstdint>

namespace RINGLET_EXPORT ringlet {

/// Requests to the kernel, independent of any backend. Those that move bytes come last.
enum class Opcode : std::uint8_t {
    accept,
    connect,
    poll,        ///< waits for the poll(2) events in `size_bytes`; returns those that occurred
    recv_buffer, ///< into memory lent by the ring
    recv,
    send,
    read,        ///< from a descriptor that only the loop uses
    read_some,   ///< from one that may be shared with other programs
    read_buffer, ///< like `recv_buffer`, for anything but a socket
    write,
    send_message,  ///< `data` is a `Message`
    recv_message,  ///< the same
    read_at,       ///< `data` is a `FileRange`
    write_at,      ///< the same
    send_zero_copy ///< a ring without support does a `send` instead
};
inline constexpr std::size_t opcode_count = static_cast<std::size_t>(Opcode::send_zero_copy) + 1;

/// The name of an opcode, for messages and dumps.
[[nodiscard]] const char* to_string(Opcode opcode) noexcept;

/// One request to the kernel and, later, its answer.
///
///        configure           start               finish              consume
///     idle ------> idle ---------------> in_flight ------> finished ------> idle
///                                          |    ^
///                                          +----+ a short transfer starts again by itself
///
/// Lifetime  From `start` until `finish` the kernel owns the bytes at `data` and knows the operation
///           by its address: neither may move or be freed.
/// Thread    The loop's own.
struct Operation final : Wait, ListHook {
    enum class State : std::uint8_t { idle, in_flight, finished };

    /// How many bytes must be transferred before the operation finishes.
    enum class Extent : std::uint8_t {
        some, ///< one byte is enough
        whole ///< all of them: a short transfer is continued until an error or the end of stream
    };

    /// The bytes, the address to connect to, or what the opcode says. For `recv_buffer` the ring lends memory once it
    /// has data to write, and stores its address here if the result is positive.
    void* data = nullptr;
    std::size_t size_bytes = 0; ///< how much to move
    std::size_t transferred_bytes = 0;
    std::int32_t result = 0; ///< bytes, an accepted descriptor's number, or a negative errno
    Descriptor descriptor;
    Opcode opcode = Opcode::read;
    Extent extent = Extent::some;
    State state = State::idle;
    bool cancel_requested = false; ///< the rest is not started again
    std::int16_t cancel_errno = 0; ///< replaces ECANCELED in the result, unless 0
    /// Why the kernel does not hold a receive, or soon will not.
    enum class Standby : std::uint8_t {
        no,
        queued, ///< it waits for a buffer
        asked,  ///< it waited a long time and is being cancelled: see `Ring::park`
        polls   ///< a poll stands in for it
    };
    Standby standby = Standby::no; ///< used by the ring only
    bool idle_limited = false;     ///< `EventLoop::cancel_idle` ends it

    /// Describes the next request. Asserts that the previous one was consumed.
    void configure(Opcode what, Descriptor where, void* bytes, std::size_t size,
                   Extent how_much = Extent::some) {
        RINGLET_ASSERT(state == State::idle,
                       "an operation was begun while the last one of its kind "
                       "on the same socket is in flight");
        data = bytes;
        size_bytes = size;
        transferred_bytes = 0;
        result = 0;
        descriptor = where;
        opcode = what;
        extent = how_much;
        state = State::idle; // so that all of these are one store
        cancel_requested = false;
        cancel_errno = 0;
        standby = Standby::no;
    }

    /// The process descriptor that it operates on; -1 if there is none.
    [[nodiscard]] int fd() const noexcept { return descriptor.fd(); }
    /// True if the result is a count of bytes.
    [[nodiscard]] bool moves_bytes() const noexcept { return opcode >= Opcode::recv_buffer; }
    /// True if the ring lends the memory.
    [[nodiscard]] bool takes_buffer() const noexcept {
        return opcode == Opcode::recv_buffer || opcode == Opcode::read_buffer;
    }
    /// True if `data` points to the bytes themselves.
    [[nodiscard]] bool lends_bytes() const noexcept {
        return moves_bytes() && (opcode < Opcode::send_message || opcode == Opcode::send_zero_copy);
    }
    /// True if it sends. A descriptor may have one operation of each direction in flight.
    [[nodiscard]] bool is_outbound() const noexcept {
        return opcode == Opcode::send || opcode == Opcode::connect || opcode == Opcode::write ||
               opcode == Opcode::send_message || opcode == Opcode::send_zero_copy;
    }

    /// Stores the ring's answer; called by the loop. Returns false if the rest must be started again.
    [[nodiscard]] bool finish(std::int32_t answer) noexcept {
        if (answer > 0 && moves_bytes()) [[likely]] {
            transferred_bytes += static_cast<std::size_t>(answer);
            if (extent == Extent::some || transferred_bytes >= size_bytes) [[likely]] {
                result = answer;
                state = State::finished;
                return true;
            }
        }
        return finish_with_less(answer);
    }

    /// Records a refusal before it reached the kernel: `operation_canceled`.
    void refuse() noexcept;

    /// The waiter has read the answer: the operation can be configured again.
    void consume() noexcept { state = State::idle; }

    /// The part still to be transferred.
    [[nodiscard]] std::byte* rest() const noexcept {
        return static_cast<std::byte*>(data) + transferred_bytes;
    }
    [[nodiscard]] std::size_t rest_bytes() const noexcept { return size_bytes - transferred_bytes; }

    // Defined with the loop, which they query.
    void cancel() noexcept override;
    [[nodiscard]] std::string describe() const override;
    [[nodiscard]] std::string describe_kind() const override { return to_string(opcode); }

private:
    // The rest of `finish`, for when no bytes were moved, or not all.
    bool finish_with_less(std::int32_t answer) noexcept;
};

} // namespace ringlet
