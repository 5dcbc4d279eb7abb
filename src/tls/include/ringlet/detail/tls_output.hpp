#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/piece.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Bytes to send, in blocks from the thread's pool.
///
/// Lifetime  Owns the blocks. Move-only.
class TlsOutput {
public:
    TlsOutput() noexcept = default;
    TlsOutput(TlsOutput&& other) noexcept
        : first_(std::exchange(other.first_, nullptr)), last_(std::exchange(other.last_, nullptr)) {
    }
    TlsOutput& operator=(TlsOutput&& other) noexcept {
        std::swap(first_, other.first_);
        std::swap(last_, other.last_);
        return *this;
    }
    ~TlsOutput();

    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    /// Throws `std::bad_alloc`, after it has taken part of the bytes or none.
    void append(std::span<const std::byte> bytes);
    /// The first blocks, as many as fit in `room`.
    [[nodiscard]] std::span<const Piece> pieces(std::span<Piece> room) const noexcept;
    /// Removes `size_bytes` bytes that have been sent.
    void skip(std::size_t size_bytes) noexcept;
    /// Puts unsent output back in front of what came later.
    void put_in_front(TlsOutput earlier) noexcept;

private:
    struct Block;

    Block* first_ = nullptr;
    Block* last_ = nullptr;
};

} // namespace ringlet
