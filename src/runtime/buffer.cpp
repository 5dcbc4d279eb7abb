#include <ringlet/buffer.hpp>

#include <ringlet/assert.hpp>

#include "sanitizer.hpp"

#include <new>

namespace ringlet {

namespace {

// The blocks that this thread keeps. As in FramePool: constant-initialised, never destroyed,
// emptied by a closer when the thread ends.
struct Block {
    Block* next;
};
struct KeptBlocks {
    Block* first = nullptr;
    std::size_t count = 0;
    std::ptrdiff_t lent_count = 0;
    bool closed = false;
};
constinit thread_local KeptBlocks kept;

constexpr std::align_val_t alignment{64}; // a cache line

void free_block(void* memory) noexcept { ::operator delete(memory, alignment); }

void* pop() noexcept {
    --kept.count;
    return std::exchange(kept.first, kept.first->next);
}

struct Closer {
    ~Closer() {
        while (kept.first != nullptr) free_block(pop());
        kept.closed = true;
    }
};

} // namespace

std::byte* Buffer::borrow() {
    void* memory = kept.first != nullptr ? pop() : ::operator new(capacity_bytes, alignment);
    ++kept.lent_count;
    return static_cast<std::byte*>(memory);
}

std::ptrdiff_t Buffer::lent_count() noexcept { return kept.lent_count; }

void Buffer::give_back(std::byte* memory) noexcept {
    RINGLET_ASSERT(memory != static_cast<void*>(kept.first), "a buffer was given back twice");
    --kept.lent_count;
    if (address_sanitizer_runs || kept.closed || kept.count >= kept_limit) {
        free_block(memory);
        return;
    }
    static thread_local Closer closer;
    static_cast<void>(closer);
    kept.first = ::new (memory) Block{kept.first};
    ++kept.count;
}

} // namespace ringlet
