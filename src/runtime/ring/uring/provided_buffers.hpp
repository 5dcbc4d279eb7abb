#pragma once

// Free blocks in a ring that is shared with io_uring (Linux 5.19): the kernel takes one when it has
// data to write, so that a waiting receive holds no memory.

#include "base/buffer_pool.hpp"
#include "ring/uring/uring_queues.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace ringlet {

/// Lifetime  Ends before the queues, when no receive is in flight. The thread's pool is held (`BufferPool::hold`).
class ProvidedBuffers {
public:
    /// The most blocks in the ring: 16 MiB.
    static constexpr std::uint16_t count_limit = 1024;

    /// Null if the kernel has no such rings, or may not lock the 16 KiB that describe the blocks.
    static std::unique_ptr<ProvidedBuffers> create(UringQueues& queues);

    ProvidedBuffers(const ProvidedBuffers&) = delete;
    ProvidedBuffers& operator=(const ProvidedBuffers&) = delete;
    ~ProvidedBuffers();

    /// Makes a receive take a block of this ring.
    static void prepare(io_uring_sqe& entry) noexcept {
        entry.flags |= IOSQE_BUFFER_SELECT;
        entry.buf_group = group;
    }

    /// The block that the kernel took for this completion; it now belongs to the caller.
    [[nodiscard]] std::byte* take(const io_uring_cqe& entry) noexcept {
        const auto id = static_cast<std::uint16_t>(entry.flags >> IORING_CQE_BUFFER_SHIFT);
        missing_.push_back(id);
        pool_.note_provided(-1);
        return blocks_[id];
    }

    /// Replaces blocks that were taken, at most `room` of them.
    void refill(std::size_t room);

    /// Blocks that the kernel may take.
    [[nodiscard]] std::size_t count() const noexcept { return count_limit_now_ - missing_.size(); }

    /// A burst found too few blocks: doubles their number from the next refill on.
    void grow();

private:
    static constexpr std::uint16_t group = 0;
    // A few blocks stay in the cache; a burst that finds too few of them raises the number.
    static constexpr std::uint16_t first_count = 16;
    struct Freed {
        void operator()(io_uring_buf_ring* ring) const noexcept;
    };
    using SharedRing = std::unique_ptr<io_uring_buf_ring, Freed>;

    ProvidedBuffers(UringQueues& queues, SharedRing shared);

    UringQueues& queues_;
    SharedRing shared_;
    BufferPool& pool_ = BufferPool::of_this_thread();
    std::array<std::byte*, count_limit> blocks_{}; // by their number
    std::vector<std::uint16_t> missing_;           // numbers without a block
    std::size_t count_limit_now_ = 0;              // numbers in use
};

} // namespace ringlet
