#pragma once

#include <ringlet/detail/config.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Received bytes, in memory borrowed from the thread's pool.
///
/// Lifetime  Owns the memory, and returns it to the pool when destroyed. Move-only.
/// Thread    One at a time. It may be destroyed on any thread; until then the thread that it came
///           from counts it as lent.
class [[nodiscard]] Buffer {
public:
    /// What one buffer can hold, in bytes: enough for the 1 KB messages of a chat in one piece, and
    /// for the largest record of TLS 1.3, 16,645 bytes (RFC 8446, 5.1 and 5.2).
    static constexpr std::size_t capacity_bytes = 16'672;
    /// Blocks that a thread keeps for reuse (16 MiB). Blocks returned beyond that are freed.
    static constexpr std::size_t kept_limit = 1024;

    Buffer() noexcept = default;
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          size_bytes_(std::exchange(other.size_bytes_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        if (this != &other) {
            release();
            data_ = std::exchange(other.data_, nullptr);
            size_bytes_ = std::exchange(other.size_bytes_, 0);
        }
        return *this;
    }
    ~Buffer() { release(); }

    [[nodiscard]] std::byte* data() noexcept { return data_; }
    [[nodiscard]] const std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_bytes_; }
    /// True at the end of the stream: the peer has finished sending.
    [[nodiscard]] bool empty() const noexcept { return size_bytes_ == 0; }
    [[nodiscard]] std::byte* begin() noexcept { return data_; }
    [[nodiscard]] std::byte* end() noexcept { return data_ + size_bytes_; }
    [[nodiscard]] const std::byte* begin() const noexcept { return data_; }
    [[nodiscard]] const std::byte* end() const noexcept { return data_ + size_bytes_; }

    /// The bytes as text.
    [[nodiscard]] std::string_view text() const& noexcept {
        return {reinterpret_cast<const char*>(data_), size_bytes_};
    }
    std::string_view text() && = delete; // it would refer to freed memory

    /// Part of the bytes: `size_bytes` of them from `offset` on, or as many as there are.
    [[nodiscard]] std::span<std::byte> slice(std::size_t offset,
                                             std::size_t size_bytes = capacity_bytes) & noexcept {
        const std::size_t from = std::min(offset, size_bytes_);
        return {data_ + from, std::min(size_bytes, size_bytes_ - from)};
    }
    [[nodiscard]] std::span<const std::byte>
    slice(std::size_t offset, std::size_t size_bytes = capacity_bytes) const& noexcept {
        const std::size_t from = std::min(offset, size_bytes_);
        return {data_ + from, std::min(size_bytes, size_bytes_ - from)};
    }
    std::span<std::byte> slice(std::size_t, std::size_t = 0) && = delete;

    // For the sockets: memory to lend to the kernel, and the buffer made of it.

    /// Takes `capacity_bytes` of memory from the pool. Throws `std::bad_alloc`.
    [[nodiscard]] static std::byte* borrow();
    /// Gives it back unused.
    static void give_back(std::byte* memory) noexcept;
    /// Blocks that were borrowed on this thread and not yet given back, wherever they are.
    [[nodiscard]] static std::ptrdiff_t lent_count() noexcept;
    /// Makes a buffer of borrowed memory whose first `size_bytes` bytes are filled.
    Buffer(std::byte* borrowed, std::size_t size_bytes) noexcept
        : data_(borrowed), size_bytes_(size_bytes) {}

private:
    void release() noexcept {
        if (data_ != nullptr) give_back(data_);
    }

    std::byte* data_ = nullptr;
    std::size_t size_bytes_ = 0;
};

} // namespace ringlet
