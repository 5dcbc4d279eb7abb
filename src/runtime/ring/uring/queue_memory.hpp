#pragma once

// The memory that a ring shares with the kernel, mapped as io_uring_setup(2) describes it. It uses
// only the four liburing calls that have a manual page and the kernel's own structures: the contents
// of `struct io_uring` differ from version to version.

#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <memory>

#include <liburing.h>

namespace ringlet {

/// A ring of the kernel and its two queues. The queues stay in place when this moves.
class QueueMemory {
public:
    /// Sets up an io_uring, and maps it. `parameters` holds what is wanted, and afterwards what the kernel
    /// gave.
    ///
    /// Errors    The kernel's errno, as it is: EINVAL may mean an unknown flag.
    ///           `io_uring_too_old` for a kernel that maps its queues one by one (before Linux 5.4).
    static Result<QueueMemory> create(unsigned entries, io_uring_params& parameters);

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

    // The submissions. The kernel moves the head, we the tail.
    io_uring_sqe* submissions = nullptr;
    unsigned submission_count = 0; ///< a power of two
    unsigned* submission_head = nullptr;
    unsigned* submission_tail = nullptr;

    // The completions. The kernel moves the tail, we the head.
    const io_uring_cqe* completions = nullptr;
    unsigned completion_count = 0; ///< a power of two
    unsigned* completion_head = nullptr;
    const unsigned* completion_tail = nullptr;
    const unsigned* completion_overflow = nullptr; ///< completions that found no room

private:
    struct Unmap {
        std::size_t size_bytes;
        void operator()(std::byte* memory) const noexcept;
    };
    using Mapping = std::unique_ptr<std::byte, Unmap>;

    static Mapping map(int fd, std::size_t size_bytes, off_t what) noexcept;

    UniqueFd fd_;
    Mapping queues_;
    Mapping entries_;
};

} // namespace ringlet
