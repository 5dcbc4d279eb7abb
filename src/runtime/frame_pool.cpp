#include <ringlet/frame_pool.hpp>

#include "sanitizer.hpp"

#include <new>
#include <utility>

namespace ringlet {

namespace {

// Constant-initialised and never destroyed, so that access is one load and a frame that is released
// while the thread ends still finds it.
constinit thread_local FramePool pool_of_this_thread;

} // namespace

// Empties the pool when its thread ends.
struct FramePoolCloser {
    ~FramePoolCloser() {
        pool_of_this_thread.trim();
        pool_of_this_thread.closed_ = true;
    }
};

FramePool& FramePool::local() noexcept { return pool_of_this_thread; }

void* FramePool::reuse(FreeList& list) noexcept {
    --list.count;
    return std::exchange(list.first, list.first->next);
}

void* FramePool::fresh(std::size_t size_bytes) {
    if (audit_ != nullptr) {
        if (++audit_->allocation_count == audit_->fails_at) throw std::bad_alloc();
        ++audit_->live_count;
    }
    const std::size_t index = class_of(size_bytes);
    return ::operator new(index < class_count ? index * class_bytes : size_bytes);
}

void FramePool::release(void* block, std::size_t size_bytes) noexcept {
    const std::size_t index = class_of(size_bytes);
    // Under ASan nothing is kept: its quarantine finds a use after free, a free list would hide it.
    if (audit_ != nullptr) --audit_->live_count;
    if (address_sanitizer_runs || index >= class_count || closed_ || audit_ != nullptr ||
        lists_[index].count >= kept_per_class_limit) {
        ::operator delete(block);
        return;
    }
    static thread_local FramePoolCloser closer;
    static_cast<void>(closer);
    FreeList& list = lists_[index];
    list.first = ::new (block) Block{list.first};
    ++list.count;
}

void FramePool::trim() noexcept {
    for (FreeList& list : lists_) {
        while (list.first != nullptr) ::operator delete(reuse(list));
    }
}

void FramePool::audit(Audit* audit) noexcept {
    trim();
    audit_ = audit;
}

std::size_t FramePool::kept_count() const noexcept {
    std::size_t count = 0;
    for (const FreeList& list : lists_) count += list.count;
    return count;
}

} // namespace ringlet
