#pragma once

// The table of a ring: what is accepted into it is no descriptor of the process, and does not count as
// one. Keeps the promise that nobody is accepted for whom it has no place.

#include <ringlet/detail/descriptor.hpp>

#include "ring/uring/uring_queues.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace ringlet {

/// Lifetime  Ends before the queues. What is in it then is closed with the ring.
class DirectDescriptors {
public:
    /// A table of as many places as the process may have descriptors, which is the most that the kernel
    /// allows; 8 bytes each. Null where the kernel has none, or cannot lend their descriptors
    /// (Linux 6.8).
    static std::unique_ptr<DirectDescriptors> create(UringQueues& queues);

    DirectDescriptors(UringQueues& queues, std::size_t size) noexcept
        : queues_(queues), size_(size) {}
    DirectDescriptors(const DirectDescriptors&) = delete;
    DirectDescriptors& operator=(const DirectDescriptors&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Takes a place for whoever will be accepted. False if there is none: a kernel that finds the
    /// table full closes the connection.
    [[nodiscard]] bool reserve() noexcept {
        if (taken_count_ == size_) return false;
        ++taken_count_;
        return true;
    }
    /// Nobody was accepted.
    void release() noexcept { --taken_count_; }

    /// Makes an accept one into the table.
    static void prepare_accept(io_uring_sqe& entry) noexcept {
        entry.accept_flags = 0; // none of this table survives an exec
        entry.file_index = IORING_FILE_INDEX_ALLOC;
    }

    /// Makes a request one that lends a descriptor of the process.
    static void prepare_install(io_uring_sqe& entry, Descriptor descriptor) noexcept;

    /// Makes a request one that puts a descriptor of the process into any place, and writes there which.
    static void prepare_adopt(io_uring_sqe& entry, std::int32_t& place) noexcept;

    /// Closes what is in a place, as close(2).
    void close(Descriptor descriptor) noexcept;

private:
    UringQueues& queues_;
    std::size_t size_;
    std::size_t taken_count_ = 0;
};

} // namespace ringlet
