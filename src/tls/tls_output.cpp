#include <ringlet/detail/tls_output.hpp>

#include <ringlet/buffer.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

namespace ringlet {

struct TlsOutput::Block {
    static constexpr std::size_t capacity_bytes = Buffer::capacity_bytes - 16; // a whole record

    Block* next = nullptr;
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::byte bytes[capacity_bytes];
};

TlsOutput::~TlsOutput() {
    static_assert(sizeof(Block) == Buffer::capacity_bytes);
    while (first_ != nullptr) {
        Block* next = first_->next;
        Buffer::give_back(reinterpret_cast<std::byte*>(first_));
        first_ = next;
    }
}

void TlsOutput::append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        if (last_ == nullptr || last_->end == Block::capacity_bytes) {
            auto* block = ::new (Buffer::borrow()) Block; // does not initialise its bytes
            (first_ == nullptr ? first_ : last_->next) = block;
            last_ = block;
        }
        const std::size_t size = std::min(bytes.size(), Block::capacity_bytes - last_->end);
        std::memcpy(last_->bytes + last_->end, bytes.data(), size);
        last_->end += static_cast<std::uint32_t>(size);
        bytes = bytes.subspan(size);
    }
}

std::span<const Piece> TlsOutput::pieces(std::span<Piece> room) const noexcept {
    std::size_t count = 0;
    for (const Block* block = first_; block != nullptr && count < room.size(); block = block->next)
        room[count++] = Piece(std::span(block->bytes + block->begin, block->bytes + block->end));
    return room.first(count);
}

void TlsOutput::skip(std::size_t size_bytes) noexcept {
    while (size_bytes > 0) {
        const std::size_t size = std::min<std::size_t>(size_bytes, first_->end - first_->begin);
        first_->begin += static_cast<std::uint32_t>(size);
        size_bytes -= size;
        if (first_->begin < first_->end) return;
        Block* next = first_->next;
        Buffer::give_back(reinterpret_cast<std::byte*>(first_));
        first_ = next;
        if (first_ == nullptr) last_ = nullptr;
    }
}

void TlsOutput::put_in_front(TlsOutput earlier) noexcept {
    if (earlier.empty()) return;
    earlier.last_->next = first_;
    first_ = std::exchange(earlier.first_, nullptr);
    if (last_ == nullptr) last_ = earlier.last_;
    earlier.last_ = nullptr;
}

} // namespace ringlet
