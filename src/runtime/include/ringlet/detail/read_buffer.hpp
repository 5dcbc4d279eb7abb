#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/detail/config.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// What a reader has received but not handed out: the rest of the last buffer, preceded by the joined remains of the
/// buffers before it. Only data that straddles two buffers is copied.
///
/// Memory that is handed out stays in place until the next non-const call.
class ReadBuffer {
public:
    [[nodiscard]] std::size_t size() const noexcept {
        return joined_.size() - joined_at_ + chunk_.size() - chunk_at_;
    }

    /// How many bytes precede the first `delimiter`, which must not be empty. Bytes already searched for the same one
    /// are not searched again.
    [[nodiscard]] std::optional<std::size_t> find(std::string_view delimiter);

    /// The first `size_bytes` bytes in one piece; that many must be there.
    [[nodiscard]] std::span<const std::byte> first(std::size_t size_bytes);
    void consume(std::size_t size_bytes) noexcept;
    /// Copies and consumes as many bytes as there are and fit. Returns how many.
    std::size_t take(std::span<std::byte> memory) noexcept;

    /// Puts bytes in front.
    void put_back(std::span<const std::byte> bytes);

    /// Returns the buffer to the pool before a wait; the rest of it is copied.
    void release();
    /// Adds received data, after `release`.
    void add(Buffer chunk) noexcept;
    /// The last buffer without a copy, if it is untouched and nothing precedes it.
    [[nodiscard]] std::optional<Buffer> take_buffer() noexcept;

private:
    [[nodiscard]] std::span<const std::byte> joined() const noexcept {
        return std::span(joined_).subspan(joined_at_);
    }
    [[nodiscard]] std::span<const std::byte> chunk() const noexcept {
        return {chunk_.data() + chunk_at_, chunk_.size() - chunk_at_};
    }
    void drop_consumed() noexcept;

    std::vector<std::byte> joined_;
    std::size_t joined_at_ = 0;
    Buffer chunk_;
    std::size_t chunk_at_ = 0;
    std::string searched_for_;
    std::size_t searched_ = 0; // no such delimiter starts in this many bytes
};

} // namespace ringlet
