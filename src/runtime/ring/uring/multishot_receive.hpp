#pragma once

// Receives answered by one io_uring submission: which bytes go to which operation. Keeps the promise that all
// bytes arrive in order, even if a receive is cancelled between them. It makes no requests itself: each call
// returns the request that the ring then makes.

#include <ringlet/detail/operation.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace ringlet {

/// One connection, whose submission stays with the kernel as long as data comes.
///
/// Lifetime  Its address is the submission's name there: it must not move or be destroyed while armed.
///           Gives back buffers that no receive has taken.
class MultishotReceiver {
public:
    /// What to ask the kernel for.
    enum class Request : std::uint8_t {
        nothing,
        arm,            ///< submit the multishot
        take_back,      ///< cancel it
        single_shot,    ///< submit the operation itself
        wait_for_buffer ///< the operation has found none
    };

    /// What a call leads to.
    struct Step {
        Request request = Request::nothing;
        Operation* operation = nullptr; ///< finished with `result`, unless the request is about it
        std::int32_t result = 0;
    };

    explicit MultishotReceiver(Descriptor descriptor) noexcept : descriptor_(descriptor) {}
    MultishotReceiver(const MultishotReceiver&) = delete;
    MultishotReceiver& operator=(const MultishotReceiver&) = delete;
    ~MultishotReceiver();

    /// Starts a receive, into memory of the ring or its own: it gets what is already there, or waits.
    [[nodiscard]] Step start(Operation& operation);

    /// The waiting receive has been cancelled. Bytes that come later are kept for the next one.
    [[nodiscard]] Step cancel() noexcept;

    /// The kernel's answer, with the buffer that it took, if any. `more` says whether the multishot continues.
    [[nodiscard]] Step answer(std::int32_t result, bool more, std::byte* block);

    [[nodiscard]] Descriptor descriptor() const noexcept { return descriptor_; }
    [[nodiscard]] bool is_armed() const noexcept { return armed_; }
    [[nodiscard]] const Operation* waiting() const noexcept { return waiting_; }
    [[nodiscard]] std::size_t ahead_count() const noexcept { return ahead_.size(); }
    /// Whether something is here that no receive has taken: bytes, the end, or an error.
    [[nodiscard]] bool has_received() const noexcept { return !ahead_.empty() || end_; }
    /// Whether nothing is here, and nothing will arrive unasked.
    [[nodiscard]] bool is_quiet() const noexcept { return !armed_ && ahead_.empty() && !end_; }

    /// How many untaken buffers make it take the multishot back. Data that is already on its way still
    /// arrives.
    static constexpr std::size_t ahead_limit = 4;

private:
    struct Piece {
        std::byte* block;
        std::size_t size_bytes;
    };

    Step deliver();
    Step ask();
    Step about(Request request) noexcept;
    std::int32_t hand_out(Operation& operation);

    Descriptor descriptor_;
    Operation* waiting_ = nullptr;
    bool armed_ = false;
    bool taken_back_ = false;         // its last answer is on the way
    bool proven_ = false;             // it has received
    bool unsupported_ = false;        // it was refused: each operation is submitted itself
    std::vector<Piece> ahead_;        // oldest first
    std::optional<std::int32_t> end_; // what follows `ahead_`: the end of the stream, or an error
};

} // namespace ringlet
