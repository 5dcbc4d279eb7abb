#include <ringlet/detail/read_buffer.hpp>

#include <ringlet/detail/assert.hpp>

#include <algorithm>
#include <utility>

namespace ringlet {

namespace {

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace

// A delimiter may begin in the joined bytes and end in the chunk: that border is searched separately.
std::optional<std::size_t> ReadBuffer::find(std::string_view delimiter) {
    if (searched_for_ != delimiter) {
        searched_for_ = delimiter;
        searched_ = 0;
    }
    const std::string_view front = text_of(joined());
    const std::string_view back = text_of(chunk());
    const std::size_t reach = delimiter.size() - 1; // before its last byte
    if (searched_ < front.size()) {
        const auto found = front.find(delimiter, searched_);
        if (found != front.npos) return found;
        const std::size_t border_begin =
            std::max(searched_, front.size() - std::min(reach, front.size()));
        std::string border(front.substr(border_begin));
        border += back.substr(0, reach);
        const auto over_border = border.find(delimiter);
        if (over_border != border.npos) return border_begin + over_border;
        searched_ = front.size();
    }
    const auto found = back.find(delimiter, searched_ - front.size());
    if (found != back.npos) return front.size() + found;
    const std::size_t all = size();
    searched_ = all - std::min(reach, all);
    return std::nullopt;
}

std::span<const std::byte> ReadBuffer::first(std::size_t size_bytes) {
    RINGLET_ASSERT(size_bytes <= size(), "more bytes than a reader has");
    const std::size_t in_front = joined_.size() - joined_at_;
    if (in_front == 0) return chunk().first(size_bytes);
    if (size_bytes > in_front) {
        const auto missing = chunk().first(size_bytes - in_front);
        joined_.insert(joined_.end(), missing.begin(), missing.end());
        chunk_at_ += missing.size();
    }
    return joined().first(size_bytes);
}

void ReadBuffer::consume(std::size_t size_bytes) noexcept {
    const std::size_t of_front = std::min(size_bytes, joined_.size() - joined_at_);
    joined_at_ += of_front;
    chunk_at_ += size_bytes - of_front;
    searched_ -= std::min(searched_, size_bytes);
}

std::size_t ReadBuffer::take(std::span<std::byte> memory) noexcept {
    std::size_t taken = 0;
    for (const auto part : {joined(), chunk()}) {
        const std::size_t count = std::min(part.size(), memory.size() - taken);
        std::copy_n(part.begin(), count, memory.begin() + static_cast<std::ptrdiff_t>(taken));
        taken += count;
    }
    consume(taken);
    return taken;
}

void ReadBuffer::put_back(std::span<const std::byte> bytes) {
    std::vector<std::byte> whole(bytes.begin(), bytes.end());
    whole.insert(whole.end(), joined().begin(), joined().end());
    joined_ = std::move(whole);
    joined_at_ = 0;
    searched_ = 0;
}

void ReadBuffer::drop_consumed() noexcept {
    joined_.erase(joined_.begin(), joined_.begin() + static_cast<std::ptrdiff_t>(joined_at_));
    joined_at_ = 0;
    if (joined_.empty()) joined_ = {}; // its memory, too
}

void ReadBuffer::release() {
    drop_consumed();
    const auto left = chunk();
    joined_.insert(joined_.end(), left.begin(), left.end());
    chunk_ = Buffer();
    chunk_at_ = 0;
}

void ReadBuffer::add(Buffer chunk) noexcept {
    RINGLET_ASSERT(chunk_at_ == chunk_.size(),
                   "a reader's buffer was replaced before it was empty");
    chunk_ = std::move(chunk);
    chunk_at_ = 0;
}

std::optional<Buffer> ReadBuffer::take_buffer() noexcept {
    if (joined_at_ != joined_.size() || chunk_at_ != 0 || chunk_.empty()) return std::nullopt;
    searched_ = 0;
    return std::move(chunk_);
}

} // namespace ringlet
