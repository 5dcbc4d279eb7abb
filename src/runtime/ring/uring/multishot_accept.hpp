#pragma once

// Accepts answered by one io_uring submission: which connection goes to which operation. Keeps the
// promise that every operation is answered once, and that no connection is lost. It makes no requests
// itself: each call returns the request that the ring then makes.

#include <ringlet/detail/operation.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstdint>
#include <deque>

namespace ringlet {

/// One listening descriptor, whose submission stays with the kernel as long as accepts follow.
///
/// Lifetime  Its address is the submission's name there: it must not move or be destroyed while armed.
class MultishotListener {
public:
    /// What to ask the kernel for.
    enum class Request : std::uint8_t {
        nothing,
        arm,        ///< submit the multishot
        take_back,  ///< cancel it
        single_shot ///< no multishot here: submit the operation itself
    };

    /// What a call leads to.
    struct Step {
        Request request = Request::nothing;
        Operation* operation = nullptr; ///< finished with `result`; or to be submitted itself
        std::int32_t result = 0;
    };

    explicit MultishotListener(int fd) noexcept : fd_(fd) {}

    /// Starts an accept: it gets a connection that is already there, or waits.
    [[nodiscard]] Step start(Operation& operation);

    /// Cancels the operation, if it waits here. It ends by an answer of the kernel, like any other.
    [[nodiscard]] Step cancel(const Operation& operation) noexcept;

    /// The kernel's answer. `more` says whether the multishot continues.
    [[nodiscard]] Step answer(std::int32_t result, bool more);

    /// The connection that has waited longest for an accept; empty if there is none.
    [[nodiscard]] UniqueFd take_ahead() noexcept;

    /// Before a wait: takes the multishot back if no accept waits, so that clients for whom there is
    /// no room stay in the backlog.
    [[nodiscard]] Step rest() noexcept;

    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] bool is_armed() const noexcept { return armed_; }
    [[nodiscard]] const Operation* waiting() const noexcept { return waiting_; }
    [[nodiscard]] std::size_t ahead_count() const noexcept { return ahead_.size(); }

private:
    Step finish(std::int32_t result) noexcept;
    Step arm() noexcept;

    int fd_;
    Operation* waiting_ = nullptr;
    bool cancelled_ = false; // the waiting accept is to end
    bool armed_ = false;
    bool taken_back_ = false;    // its last answer is on the way
    bool proven_ = false;        // it has accepted
    bool unsupported_ = false;   // it was refused: each operation is submitted itself
    std::deque<UniqueFd> ahead_; // accepted while none waited, oldest first
};

} // namespace ringlet
