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

/// What a reader has received and not given out: the rest of the last buffer, and in front of it what is left of those
/// before, joined. Only what straddles two buffers is copied.
///
/// What is given out stays in place until the next call that is not const.
class ReadBuffer {
public:
    [[nodiscard]] std::size_t size() const noexcept {
        return joined_.size() - joined_at_ + chunk_.size() - chunk_at_;
    }

    /// How many bytes stand before the first `delimiter`, which is not empty. What was searched for the same is not
    /// searched again.
    [[nodiscard]] std::optional<std::size_t> find(std::string_view delimiter);

    /// The first bytes in one piece; there are so many.
    [[nodiscard]] std::span<const std::byte> first(std::size_t size_bytes);
    void consume(std::size_t size_bytes) noexcept;
    /// Copies as many as there are and fit, and consumes them. Returns how many.
    std::size_t take(std::span<std::byte> memory) noexcept;

    /// Puts bytes in front.
    void put_back(std::span<const std::byte> bytes);

    /// Gives the buffer back: what is left of it is copied. Before a wait.
    void release();
    /// Adds what was received, after `release`.
    void add(Buffer chunk) noexcept;
    /// The rest of the last buffer, if it is untouched and nothing stands in front of it: without a copy.
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
    std::size_t searched_ = 0; // so many bytes begin no such delimiter
};

} // namespace ringlet
