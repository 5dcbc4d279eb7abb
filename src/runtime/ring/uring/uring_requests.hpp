#pragma once

// How a request is written into a submission, and what a completion says of whose it is.

#include <ringlet/detail/operation.hpp>

#include "ring/uring/uring_queues.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <sys/socket.h>

namespace ringlet::uring {

/// The name of a request in the kernel: an address, which is a multiple of eight, and what is there. The
/// operation itself is not looked at before it has been checked (see check_loan).
enum class Tag : std::uint64_t {
    operation = 0, ///< that moves bytes or connects; of no address: nobody waits for this answer
    multishot_accept,
    accept,
    install,
    recv_buffer,
    multishot_receive,
    zero_copy_send
};
constexpr std::uint64_t tag_bits = 7;

template <class T>
std::uint64_t name_of(const T& what, Tag tag) noexcept {
    static_assert(alignof(T) > tag_bits);
    return reinterpret_cast<std::uintptr_t>(&what) | static_cast<std::uint64_t>(tag);
}

inline std::uint64_t name_of(const Operation& operation) noexcept {
    switch (operation.opcode) {
    case Opcode::accept: return name_of(operation, Tag::accept);
    case Opcode::recv_buffer: return name_of(operation, Tag::recv_buffer);
    case Opcode::send_zero_copy: return name_of(operation, Tag::zero_copy_send);
    default: return name_of(operation, Tag::operation);
    }
}

inline Tag tag_of(const io_uring_cqe& entry) noexcept {
    return static_cast<Tag>(entry.user_data & tag_bits);
}

template <class T>
T* address_in(const io_uring_cqe& entry) noexcept {
    auto* name = static_cast<std::byte*>(io_uring_cqe_get_data(&entry));
    return reinterpret_cast<T*>(name - (entry.user_data & tag_bits));
}

/// Says which kind of descriptor the request's is.
inline void mark_kind(io_uring_sqe& entry, Descriptor descriptor) noexcept {
    if (descriptor.is_direct()) entry.flags |= IOSQE_FIXED_FILE;
}

/// A request on a descriptor of either kind.
inline void prepare(io_uring_sqe& entry, unsigned char opcode, Descriptor descriptor,
                    const void* bytes, unsigned size) noexcept {
    // The descriptors that are read (eventfd, signalfd) have no position.
    io_uring_prep_rw(opcode, &entry, descriptor.number(), bytes, size, 0);
    mark_kind(entry, descriptor);
}

/// One that moves bytes, whose kind and name are known.
inline void submit_transfer(UringQueues& queues, const Operation& operation, unsigned char opcode,
                            unsigned message_flags, Tag tag) {
    const auto size =
        static_cast<unsigned>(std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
    io_uring_sqe* entry = queues.next_entry();
    prepare(*entry, opcode, operation.descriptor, operation.rest(), size);
    entry->msg_flags = message_flags;
    io_uring_sqe_set_data64(entry, name_of(operation, tag));
}

inline void submit_send(UringQueues& queues, const Operation& operation) {
    submit_transfer(queues, operation, IORING_OP_SEND, MSG_NOSIGNAL, Tag::operation);
}

/// A receive into memory that the operation has.
inline void submit_receive(UringQueues& queues, const Operation& operation) {
    const bool is_lent = operation.opcode == Opcode::recv_buffer;
    submit_transfer(queues, operation, IORING_OP_RECV, 0,
                    is_lent ? Tag::recv_buffer : Tag::operation);
}

inline void submit_cancellation(UringQueues& queues, std::uint64_t name) {
    io_uring_sqe* entry = queues.next_entry();
    io_uring_prep_cancel64(entry, name, 0);
    // Its own answer (0, ENOENT, EALREADY: all normal) says nothing that the operation's completion
    // does not say better.
    io_uring_sqe_set_data(entry, nullptr);
}

} // namespace ringlet::uring
