#include "base/buffer_pool.hpp"

#include <ringlet/detail/assert.hpp>

#include "base/sanitizer.hpp"

#include <new>

namespace ringlet {

namespace {

constexpr std::align_val_t block_alignment{64};

// As in FramePool: constant-initialised, so that every use costs one load.
constinit thread_local BufferPool* buffer_pool_of_this_thread = nullptr;

} // namespace

// Ends a pool with its thread.
struct BufferPool::Owner {
    Owner() : pool(new BufferPool) {}
    ~Owner() {
        buffer_pool_of_this_thread = nullptr;
        pool->close();
    }
    BufferPool* pool;
};

BufferPool& BufferPool::of_this_thread() {
    if (buffer_pool_of_this_thread == nullptr) [[unlikely]] {
        static thread_local Owner owner;
        buffer_pool_of_this_thread = owner.pool;
    }
    return *buffer_pool_of_this_thread;
}

BufferPool::Block* BufferPool::block_of(std::byte* memory) noexcept {
    return reinterpret_cast<Block*>(memory - sizeof(Block));
}

void BufferPool::free(Block* block) noexcept { ::operator delete(block, block_alignment); }

std::byte* BufferPool::borrow_new() noexcept {
    void* memory =
        ::operator new(sizeof(Block) + Buffer::capacity_bytes, block_alignment, std::nothrow);
    if (memory == nullptr) return nullptr;
    auto* block = ::new (memory) Block{.home = this};
    ++out_count_;
    return reinterpret_cast<std::byte*>(block + 1);
}

void BufferPool::give_back(std::byte* memory) noexcept {
    Block* block = block_of(memory);
    BufferPool* home = block->home;
    if (home != buffer_pool_of_this_thread) [[unlikely]] {
        free(block);
        return note_returned_elsewhere(home);
    }
    RINGLET_ASSERT(block != home->kept_, "a buffer was given back twice");
    --home->out_count_;
    if (address_sanitizer_runs || home->kept_count_ >= Buffer::kept_limit) return free(block);
    block->next = home->kept_;
    home->kept_ = block;
    ++home->kept_count_;
}

void BufferPool::note_returned_elsewhere(BufferPool* home) noexcept {
    if (home->returned_elsewhere_.fetch_add(1, std::memory_order_acq_rel) == -1) delete home;
}

// Counts like a block that is out.
void BufferPool::hold() noexcept {
    ++out_count_;
    ++provided_count_;
}

void BufferPool::release() noexcept {
    if (this != buffer_pool_of_this_thread) return note_returned_elsewhere(this);
    --out_count_;
    --provided_count_;
}

void BufferPool::close() noexcept {
    while (kept_ != nullptr) free(std::exchange(kept_, kept_->next));
    const auto before = returned_elsewhere_.fetch_sub(out_count_, std::memory_order_acq_rel);
    if (before == out_count_) delete this;
}

// ---- what `Buffer` needs of it ------------------------------------------------------------------

std::byte* Buffer::borrow() {
    std::byte* memory = BufferPool::of_this_thread().borrow();
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void Buffer::give_back(std::byte* memory) noexcept { BufferPool::give_back(memory); }

std::ptrdiff_t Buffer::lent_count() noexcept { return BufferPool::of_this_thread().lent_count(); }

} // namespace ringlet
