#pragma once

#include <ringlet/detail/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Keeps freed blocks of memory for reuse, one free list per size class, one pool per thread.
///
/// Coroutine frames, task records and sockets come from here, so that after warm-up neither a
/// message nor an accepted connection reaches the global allocator.
///
/// Lifetime  A block may be released on a thread other than its own; it then stays there.
/// Thread    Each thread has its own (`local`); no locks.
/// Errors    `std::bad_alloc` from `allocate`, like operator new.
/// Cost      A pop or a push of a singly linked list.
class FramePool {
public:
    /// Size classes are multiples of this, in bytes. So are frames and records, so that rounding wastes
    /// nothing: an idle connection consists of three blocks.
    static constexpr std::size_t class_bytes = 8;
    /// Larger blocks come from the global allocator and go back to it.
    static constexpr std::size_t largest_bytes = 2048;
    /// Blocks kept per size class; any more that are released go back to the global allocator.
    /// Enough for 10,000 connections that open and close at once; at most 1.3 MiB of 128-byte
    /// frames.
    static constexpr std::size_t kept_per_class_limit = 10'000;

    /// The pool of the calling thread.
    static FramePool& local() noexcept;

    [[nodiscard]] void* allocate(std::size_t size_bytes) {
        const std::size_t index = class_of(size_bytes);
        if (index < class_count && lists_[index].first != nullptr) return reuse(lists_[index]);
        return fresh(size_bytes);
    }

    /// Takes back a block that `allocate` returned for the same size.
    void release(void* block, std::size_t size_bytes) noexcept {
        const std::size_t index = class_of(size_bytes);
        if (index >= class_count || lists_[index].count >= kept_limit_) [[unlikely]]
            return release_unkept(block, size_bytes);
        FreeList& list = lists_[index];
        list.first = ::new (block) Block{list.first};
        ++list.count;
    }

    /// Calls `destroy()`, which releases `block` among others, but keeps that block as it is: `release` it later.
    ///
    /// Returns   Its size in bytes; 0 if it was not released here.
    template <class Destroy>
    [[nodiscard]] std::size_t keep_one(void* block, Destroy destroy) noexcept {
        const std::size_t limit =
            std::exchange(kept_limit_, 0); // so that every block reaches release_unkept
        spared_ = block;
        spared_bytes_ = 0;
        destroy();
        spared_ = nullptr;
        kept_limit_ = limit;
        return spared_bytes_;
    }

    /// Gives every kept block back to the global allocator.
    void trim() noexcept;

    /// Blocks that are now kept for reuse, over all classes.
    [[nodiscard]] std::size_t kept_count() const noexcept;

    /// What this pool has handed out and not taken back.
    struct Use {
        std::ptrdiff_t block_count = 0;
        std::ptrdiff_t bytes = 0; ///< of whole blocks, without the overhead of the global allocator
    };

    /// A block taken back by another thread is counted by both threads; the sum is right.
    ///
    /// Cost      Visits every size class; reused blocks are not counted one by one.
    [[nodiscard]] Use in_use() const noexcept;

    /// Counters for a test, and the allocation that it makes fail.
    struct Audit {
        std::ptrdiff_t live_count = 0; ///< blocks handed out and not taken back
        std::uint64_t allocation_count = 0;
        std::uint64_t fails_at = 0; ///< the allocation that throws; 0: none
    };

    /// Counts in `audit` from now on and keeps nothing for reuse; null: back to normal. Blocks
    /// handed out earlier are still taken back and counted.
    void audit(Audit* audit) noexcept;

    constexpr FramePool() noexcept = default;
    FramePool(const FramePool&) = delete;
    FramePool& operator=(const FramePool&) = delete;

private:
    struct Block {
        Block* next;
    };
    struct FreeList {
        Block* first = nullptr;
        std::size_t count = 0;
        std::ptrdiff_t made = 0; // by the global allocator, and not yet given back to it here
    };
    static constexpr std::size_t class_count = largest_bytes / class_bytes + 1;
    static constexpr std::size_t class_of(std::size_t size_bytes) noexcept {
        return (size_bytes + class_bytes - 1) / class_bytes;
    }

    static void* reuse(FreeList& list) noexcept {
        --list.count;
        return std::exchange(list.first, list.first->next);
    }
    void* fresh(std::size_t size_bytes);
    void release_unkept(void* block, std::size_t size_bytes) noexcept;
    void note(std::size_t size_bytes, std::ptrdiff_t more) noexcept;

    std::array<FreeList, class_count> lists_{};
    Use large_;                  // blocks without a size class
    std::size_t kept_limit_ = 0; // per class; 0: not started yet, or nothing is kept
    void* spared_ = nullptr;     // by `keep_one`
    std::size_t spared_bytes_ = 0;
    Audit* audit_ = nullptr; // if set, nothing is kept, so that every block is a fresh one
    bool closed_ = false;    // the thread is ending: keep nothing more
    friend struct FramePoolCloser;
};

/// The pool that `FramePool::local` returns. It is constant-initialised and never destroyed: access is one load, and a
/// frame that is released while the thread ends still finds it.
extern constinit thread_local FramePool frame_pool_of_this_thread;

inline FramePool& FramePool::local() noexcept { return frame_pool_of_this_thread; }

/// Allocates a type from the thread's pool: inherit from it. A type that needs more alignment than the pool's blocks
/// have comes from the global allocator.
struct Pooled {
    static void* operator new(std::size_t size_bytes, std::align_val_t alignment) {
        return ::operator new(size_bytes, alignment);
    }
    // Without a size: g++ 12 finds no other overload when a constructor throws.
    static void operator delete(void* block, std::align_val_t alignment) noexcept {
        ::operator delete(block, alignment);
    }
    static void* operator new(std::size_t size_bytes) {
        return FramePool::local().allocate(size_bytes);
    }
    static void operator delete(void* block, std::size_t size_bytes) noexcept {
        FramePool::local().release(block, size_bytes);
    }
};

} // namespace ringlet
