#include "ring/uring/provided_buffers.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace ringlet {

namespace {

constexpr std::align_val_t page{4096};
constexpr std::size_t shared_bytes = ProvidedBuffers::count_limit * sizeof(io_uring_buf);

} // namespace

void ProvidedBuffers::Freed::operator()(io_uring_buf_ring* ring) const noexcept {
    ::operator delete(ring, page);
}

std::unique_ptr<ProvidedBuffers> ProvidedBuffers::create(UringQueues& queues) {
    SharedRing shared(static_cast<io_uring_buf_ring*>(::operator new(shared_bytes, page)));
    io_uring_buf_ring_init(shared.get());
    io_uring_buf_reg description{};
    description.ring_addr = reinterpret_cast<std::uintptr_t>(shared.get());
    description.ring_entries = count_limit;
    description.bgid = group;
    if (queues.enroll(IORING_REGISTER_PBUF_RING, &description, 1) != 0) return nullptr;
    return std::unique_ptr<ProvidedBuffers>(new ProvidedBuffers(queues, std::move(shared)));
}

ProvidedBuffers::ProvidedBuffers(UringQueues& queues, SharedRing shared)
    : queues_(queues), shared_(std::move(shared)) {
    missing_.reserve(count_limit);
    grow();
}

ProvidedBuffers::~ProvidedBuffers() {
    io_uring_buf_reg description{};
    description.bgid = group;
    queues_.enroll(IORING_UNREGISTER_PBUF_RING, &description, 1);
    pool_.note_provided(-static_cast<std::ptrdiff_t>(count()));
    for (const std::uint16_t id : missing_) blocks_[id] = nullptr;
    for (std::byte* block : blocks_) {
        if (block != nullptr) BufferPool::give_back(block);
    }
}

void ProvidedBuffers::grow() {
    const std::size_t wanted =
        std::clamp<std::size_t>(2 * count_limit_now_, first_count, count_limit);
    while (count_limit_now_ < wanted) {
        missing_.push_back(static_cast<std::uint16_t>(count_limit_now_++));
    }
}

void ProvidedBuffers::refill(std::size_t room) {
    const std::size_t count = std::min(missing_.size(), room - std::min(room, this->count()));
    if (count == 0) return;
    int added = 0;
    while (static_cast<std::size_t>(added) < count) {
        std::byte* block = pool_.borrow();
        if (block == nullptr) break; // the next refill tries again
        const std::uint16_t id = missing_.back();
        missing_.pop_back();
        blocks_[id] = block;
        io_uring_buf_ring_add(shared_.get(), block, Buffer::capacity_bytes, id, count_limit - 1,
                              added++);
    }
    io_uring_buf_ring_advance(shared_.get(), added);
    pool_.note_provided(added);
}

} // namespace ringlet
