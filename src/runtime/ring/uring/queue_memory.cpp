#include "ring/uring/queue_memory.hpp"

#include <ringlet/error.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/mman.h>

namespace ringlet {

void QueueMemory::Unmap::operator()(std::byte* memory) const noexcept {
    ::munmap(memory, size_bytes);
}

QueueMemory::Mapping QueueMemory::map(int fd, std::size_t size_bytes, off_t what) noexcept {
    void* memory =
        ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);
    if (memory == MAP_FAILED) return {};
    return Mapping(static_cast<std::byte*>(memory), Unmap{size_bytes});
}

Result<QueueMemory> QueueMemory::create(unsigned entries, io_uring_params& parameters) {
    const int answer = io_uring_setup(entries, &parameters);
    if (answer < 0) return error_from_errno(-answer);
    QueueMemory made;
    made.fd_ = UniqueFd(answer);
    if ((parameters.features & IORING_FEAT_SINGLE_MMAP) == 0) return Errc::io_uring_too_old;

    const auto& in = parameters.sq_off;
    const auto& out = parameters.cq_off;
    const std::size_t in_bytes = in.array + parameters.sq_entries * sizeof(unsigned);
    const std::size_t out_bytes = out.cqes + parameters.cq_entries * sizeof(io_uring_cqe);
    made.queues_ = map(made.fd(), std::max(in_bytes, out_bytes), IORING_OFF_SQ_RING);
    if (!made.queues_) return error_from_errno(errno);
    made.entries_ = map(made.fd(), parameters.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
    if (!made.entries_) return error_from_errno(errno);

    const auto number = [&](unsigned offset) {
        return reinterpret_cast<unsigned*>(made.queues_.get() + offset);
    };
    made.submissions = reinterpret_cast<io_uring_sqe*>(made.entries_.get());
    made.submission_count = parameters.sq_entries;
    made.submission_head = number(in.head);
    made.submission_tail = number(in.tail);
    made.completions = reinterpret_cast<const io_uring_cqe*>(made.queues_.get() + out.cqes);
    made.completion_count = parameters.cq_entries;
    made.completion_head = number(out.head);
    made.completion_tail = number(out.tail);
    made.completion_overflow = number(out.overflow);
    // The kernel takes submissions in the order of an array, which is that of the queue itself.
    for (unsigned i = 0; i < parameters.sq_entries; ++i) number(in.array)[i] = i;
    return made;
}

} // namespace ringlet
