#pragma once

// The descriptor table of a ring: a connection accepted into it neither is nor counts as a descriptor
// of the process. Keeps the promise that no connection is accepted without a free slot.

#include <ringlet/detail/descriptor.hpp>

#include "ring/uring/uring_queues.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace ringlet {

/// Lifetime  Ends before the queues. What is in it then is closed with the ring.
class DirectDescriptors {
public:
    /// A table of as many slots as the process may have descriptors, which is the most that the kernel
    /// allows; 8 bytes each. Null if the kernel has no tables, or cannot install a direct descriptor in
    /// the process (Linux 6.8).
    static std::unique_ptr<DirectDescriptors> create(UringQueues& queues);

    DirectDescriptors(UringQueues& queues, std::size_t size) noexcept
        : queues_(queues), size_(size) {}
    DirectDescriptors(const DirectDescriptors&) = delete;
    DirectDescriptors& operator=(const DirectDescriptors&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Reserves a slot for an accept. False if there is none: a kernel that finds the table full
    /// closes the connection.
    [[nodiscard]] bool reserve() noexcept {
        if (taken_count_ == size_) return false;
        ++taken_count_;
        return true;
    }
    /// Frees a reserved slot: no connection was accepted.
    void release() noexcept { --taken_count_; }

    /// Makes an accept store its connection in the table.
    static void prepare_accept(io_uring_sqe& entry) noexcept {
        entry.accept_flags = 0; // none of this table survives an exec
        entry.file_index = IORING_FILE_INDEX_ALLOC;
    }

    /// Makes a request duplicate a direct descriptor as one of the process.
    static void prepare_install(io_uring_sqe& entry, Descriptor descriptor) noexcept;

    /// Makes a request put a descriptor of the process into any free slot; the kernel writes to `place` which.
    static void prepare_adopt(io_uring_sqe& entry, std::int32_t& place) noexcept;

    /// Closes the descriptor in a slot, as close(2).
    void close(Descriptor descriptor) noexcept;

private:
    UringQueues& queues_;
    std::size_t size_;
    std::size_t taken_count_ = 0;
};

} // namespace ringlet
