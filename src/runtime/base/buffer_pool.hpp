#pragma once

// Where the memory of buffers comes from and goes back to: the blocks of one thread. Keeps the promise
// that a block may be given back on any thread, and counts as lent in its own pool until then.

#include <ringlet/buffer.hpp>

#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>

namespace ringlet {

/// Lifetime  Ends with its thread, or when the last of its blocks comes back afterwards.
/// Thread    Its own; `give_back` on any.
class BufferPool {
public:
    static BufferPool& of_this_thread();

    /// A block of `Buffer::capacity_bytes`, the most recently returned one first. Null: no memory.
    [[nodiscard]] std::byte* borrow() noexcept {
        Block* block = kept_;
        if (block == nullptr) [[unlikely]]
            return borrow_new();
        kept_ = block->next;
        --kept_count_;
        ++out_count_;
        return reinterpret_cast<std::byte*>(block + 1);
    }

    /// On a thread other than the block's own, the block is freed there.
    static void give_back(std::byte* memory) noexcept;

    /// Blocks that are out, not counting those that are lent to a kernel to be filled.
    [[nodiscard]] std::ptrdiff_t lent_count() const noexcept {
        return out_count_ - provided_count_ - returned_elsewhere_.load(std::memory_order_relaxed);
    }

    /// An owner of a reference to the pool holds it, and releases it on the same thread, even while that
    /// thread ends.
    void hold() noexcept;
    void release() noexcept;

    /// Records that `change` more of the borrowed blocks (or fewer) are lent to a kernel.
    void note_provided(std::ptrdiff_t change) noexcept { provided_count_ += change; }

private:
    // In front of the bytes, in a cache line of its own.
    struct alignas(64) Block {
        BufferPool* home;
        Block* next = nullptr;
    };
    struct Owner;

    BufferPool() = default;
    ~BufferPool() = default;
    std::byte* borrow_new() noexcept;
    void close() noexcept;
    static void note_returned_elsewhere(BufferPool* home) noexcept;
    static Block* block_of(std::byte* memory) noexcept;
    static void free(Block* block) noexcept;

    Block* kept_ = nullptr; // last in, first out
    std::size_t kept_count_ = 0;
    std::ptrdiff_t out_count_ = 0;
    std::ptrdiff_t provided_count_ = 0;
    // Once the thread has ended: minus the number of blocks that are still out.
    std::atomic<std::ptrdiff_t> returned_elsewhere_{0};
};

} // namespace ringlet
