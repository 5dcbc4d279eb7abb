#include "ring/uring/direct_descriptors.hpp"

#include <algorithm>

#include <sys/resource.h>

namespace ringlet {

namespace {

// What liburing 2.3 does not know.
constexpr unsigned char fixed_fd_install = 54; // IORING_OP_FIXED_FD_INSTALL, Linux 6.8

// The kernel's own limit of a table, IORING_MAX_FIXED_FILES.
constexpr rlim_t size_limit = 1U << 20;

bool knows(io_uring& ring, unsigned char opcode) {
    struct Free {
        void operator()(io_uring_probe* probe) const noexcept { io_uring_free_probe(probe); }
    };
    const std::unique_ptr<io_uring_probe, Free> probe(io_uring_get_probe_ring(&ring));
    return probe && io_uring_opcode_supported(probe.get(), opcode) != 0;
}

} // namespace

std::unique_ptr<DirectDescriptors> DirectDescriptors::create(io_uring& ring) {
    rlimit descriptors{};
    if (!knows(ring, fixed_fd_install) || ::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
        return nullptr;
    }
    const auto size = static_cast<unsigned>(std::min(descriptors.rlim_cur, size_limit));
    if (io_uring_register_files_sparse(&ring, size) != 0) return nullptr;
    return std::make_unique<DirectDescriptors>(ring, size);
}

void DirectDescriptors::prepare_install(io_uring_sqe& entry, Descriptor descriptor) noexcept {
    io_uring_prep_rw(fixed_fd_install, &entry, descriptor.number(), nullptr, 0, 0);
    entry.flags |= IOSQE_FIXED_FILE;
}

void DirectDescriptors::close(Descriptor descriptor) noexcept {
    int none = -1;
    io_uring_register_files_update(&ring_, static_cast<unsigned>(descriptor.number()), &none, 1);
    release();
}

} // namespace ringlet
