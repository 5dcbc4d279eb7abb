#include "ring/uring/direct_descriptors.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <sys/resource.h>

namespace ringlet {

namespace {

// Missing in liburing 2.3.
constexpr unsigned char fixed_fd_install = 54; // IORING_OP_FIXED_FD_INSTALL, Linux 6.8

// The kernel's own limit of a table, IORING_MAX_FIXED_FILES.
constexpr rlim_t size_limit = 1U << 20;

bool knows(UringQueues& queues, unsigned char opcode) {
    constexpr unsigned count = 256;
    alignas(io_uring_probe)
        std::array<std::byte, sizeof(io_uring_probe) + count * sizeof(io_uring_probe_op)>
            memory{};
    const auto* probe = reinterpret_cast<const io_uring_probe*>(memory.data());
    if (queues.enroll(IORING_REGISTER_PROBE, memory.data(), count) < 0) return false;
    return opcode <= probe->last_op && (probe->ops[opcode].flags & IO_URING_OP_SUPPORTED) != 0;
}

} // namespace

std::unique_ptr<DirectDescriptors> DirectDescriptors::create(UringQueues& queues) {
    rlimit descriptors{};
    if (!knows(queues, fixed_fd_install) || ::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
        return nullptr;
    }
    const auto size = static_cast<unsigned>(std::min(descriptors.rlim_cur, size_limit));
    io_uring_rsrc_register table{};
    table.nr = size;
    table.flags = IORING_RSRC_REGISTER_SPARSE;
    if (queues.enroll(IORING_REGISTER_FILES2, &table, sizeof table) != 0) return nullptr;
    return std::make_unique<DirectDescriptors>(queues, size);
}

void DirectDescriptors::prepare_install(io_uring_sqe& entry, Descriptor descriptor) noexcept {
    io_uring_prep_rw(fixed_fd_install, &entry, descriptor.number(), nullptr, 0, 0);
    entry.flags |= IOSQE_FIXED_FILE;
}

void DirectDescriptors::prepare_adopt(io_uring_sqe& entry, std::int32_t& place) noexcept {
    io_uring_prep_rw(IORING_OP_FILES_UPDATE, &entry, -1, &place, 1, IORING_FILE_INDEX_ALLOC);
}

void DirectDescriptors::close(Descriptor descriptor) noexcept {
    const std::int32_t none = -1;
    io_uring_files_update place{};
    place.offset = static_cast<unsigned>(descriptor.number());
    place.fds = reinterpret_cast<std::uintptr_t>(&none);
    queues_.enroll(IORING_REGISTER_FILES_UPDATE, &place, 1);
    release();
}

} // namespace ringlet
