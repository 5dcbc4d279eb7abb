#include <ringlet/detail/frame_pool.hpp>

#include "base/sanitizer.hpp"

#include <new>

namespace ringlet {

constinit thread_local FramePool frame_pool_of_this_thread;

// Empties the pool when its thread ends.
struct FramePoolCloser {
    ~FramePoolCloser() {
        frame_pool_of_this_thread.trim();
        frame_pool_of_this_thread.kept_limit_ = 0;
        frame_pool_of_this_thread.closed_ = true;
    }
};

void* FramePool::fresh(std::size_t size_bytes) {
    if (audit_ != nullptr && ++audit_->allocation_count == audit_->fails_at) throw std::bad_alloc();
    const std::size_t index = class_of(size_bytes);
    void* block = ::operator new(index < class_count ? index * class_bytes : size_bytes);
    if (audit_ != nullptr) ++audit_->live_count;
    note(size_bytes, 1);
    return block;
}

void FramePool::note(std::size_t size_bytes, std::ptrdiff_t more) noexcept {
    const std::size_t index = class_of(size_bytes);
    if (index < class_count) {
        lists_[index].made += more;
    } else {
        large_.block_count += more;
        large_.bytes += more * static_cast<std::ptrdiff_t>(size_bytes);
    }
}

// The block's size class is full or there is none; or it is the first block that comes back, with which keeping begins.
void FramePool::release_unkept(void* block, std::size_t size_bytes) noexcept {
    if (spared_ == block && block != nullptr) {
        spared_ = nullptr;
        spared_bytes_ = size_bytes;
        return;
    }
    if (audit_ != nullptr) --audit_->live_count;
    // Under ASan nothing is kept: its quarantine finds a use after free, which a free list would hide.
    const bool may_keep =
        !address_sanitizer_runs && !closed_ && audit_ == nullptr && spared_ == nullptr;
    if (!may_keep || kept_limit_ != 0) {
        note(size_bytes, -1);
        ::operator delete(block);
        return;
    }
    static thread_local FramePoolCloser closer;
    static_cast<void>(closer);
    kept_limit_ = kept_per_class_limit;
    release(block, size_bytes);
}

void FramePool::trim() noexcept {
    for (FreeList& list : lists_) {
        list.made -= static_cast<std::ptrdiff_t>(list.count);
        while (list.first != nullptr) ::operator delete(reuse(list));
    }
}

void FramePool::audit(Audit* audit) noexcept {
    trim();
    kept_limit_ = 0;
    audit_ = audit;
}

std::size_t FramePool::kept_count() const noexcept {
    std::size_t count = 0;
    for (const FreeList& list : lists_) count += list.count;
    return count;
}

FramePool::Use FramePool::in_use() const noexcept {
    Use use = large_;
    for (std::size_t index = 0; index < class_count; ++index) {
        const FreeList& list = lists_[index];
        const std::ptrdiff_t given = list.made - static_cast<std::ptrdiff_t>(list.count);
        use.block_count += given;
        use.bytes += given * static_cast<std::ptrdiff_t>(index * class_bytes);
    }
    return use;
}

} // namespace ringlet
