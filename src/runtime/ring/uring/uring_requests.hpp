#pragma once

// How a request is written into a submission, and how a completion names the request.

#include <ringlet/detail/message.hpp>
#include <ringlet/detail/operation.hpp>

#include "ring/finished_list.hpp"
#include "ring/uring/uring_queues.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <poll.h>
#include <sys/socket.h>

namespace ringlet::uring {

/// The name of a request in the kernel: an address, which is a multiple of eight, and the kind of what
/// is there. The operation itself is not read before it has been checked (see check_loan).
enum class Tag : std::uint64_t {
    operation = 0, ///< any other operation; a null address marks a completion to ignore
    multishot_accept,
    accept,
    install,
    recv_buffer,
    multishot_receive,
    zero_copy_send,
    readiness ///< of the operation's descriptor, before it is tried again
};
constexpr std::uint64_t tag_bits = 7;

/// The offset that means the descriptor's own position (Linux 5.6). Descriptors without one ignore it.
constexpr std::uint64_t its_own_position = ~std::uint64_t{0};

template <class T>
std::uint64_t name_of(const T& what, Tag tag) noexcept {
    static_assert(alignof(T) > tag_bits);
    return reinterpret_cast<std::uintptr_t>(&what) | static_cast<std::uint64_t>(tag);
}

inline std::uint64_t name_of(const Operation& operation) noexcept {
    switch (operation.opcode) {
    case Opcode::accept: return name_of(operation, Tag::accept);
    case Opcode::recv_buffer:
    case Opcode::read_buffer: return name_of(operation, Tag::recv_buffer);
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

/// Marks which kind of descriptor the request has.
inline void mark_kind(io_uring_sqe& entry, Descriptor descriptor) noexcept {
    if (descriptor.is_direct()) entry.flags |= IOSQE_FIXED_FILE;
}

/// A request on a descriptor of either kind.
inline void prepare(io_uring_sqe& entry, unsigned char opcode, Descriptor descriptor,
                    const void* bytes, unsigned size) noexcept {
    io_uring_prep_rw(opcode, &entry, descriptor.number(), bytes, size, 0);
    mark_kind(entry, descriptor);
}

/// Submits a request that moves bytes.
inline void submit_transfer(UringQueues& queues, const Operation& operation, unsigned char opcode,
                            unsigned message_flags, Tag tag) {
    const auto size =
        static_cast<unsigned>(std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
    io_uring_sqe* entry = queues.next_entry();
    prepare(*entry, opcode, operation.descriptor, operation.rest(), size);
    entry->msg_flags = message_flags;
    io_uring_sqe_set_data64(entry, name_of(operation, tag));
}

/// For a descriptor that is not a socket: from its own position on, if it has one.
inline void submit_stream(UringQueues& queues, const Operation& operation, unsigned char opcode) {
    const auto size =
        static_cast<unsigned>(std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
    io_uring_sqe* entry = queues.next_entry();
    io_uring_prep_rw(opcode, entry, operation.descriptor.number(), operation.rest(), size,
                     its_own_position);
    mark_kind(*entry, operation.descriptor);
    io_uring_sqe_set_data64(entry, name_of(operation));
}

inline void submit_file(UringQueues& queues, const Operation& operation, unsigned char opcode) {
    const auto& range = *static_cast<const FileRange*>(operation.data);
    const auto size =
        static_cast<unsigned>(std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
    io_uring_sqe* entry = queues.next_entry();
    io_uring_prep_rw(opcode, entry, operation.fd(),
                     static_cast<std::byte*>(range.bytes) + operation.transferred_bytes, size,
                     range.offset + operation.transferred_bytes);
    io_uring_sqe_set_data64(entry, name_of(operation));
}

inline void submit_message(UringQueues& queues, const Operation& operation) {
    auto& message = *static_cast<Message*>(operation.data);
    message.skip(operation.transferred_bytes);
    const bool is_outbound = operation.opcode == Opcode::send_message;
    io_uring_sqe* entry = queues.next_entry();
    prepare(*entry, is_outbound ? IORING_OP_SENDMSG : IORING_OP_RECVMSG, operation.descriptor,
            &message.header, 1);
    entry->msg_flags = is_outbound ? MSG_NOSIGNAL : MSG_CMSG_CLOEXEC;
    io_uring_sqe_set_data64(entry, name_of(operation));
}

inline void submit_connect(UringQueues& queues, const Operation& operation) {
    io_uring_sqe* entry = queues.next_entry();
    io_uring_prep_connect(entry, operation.fd(), static_cast<sockaddr*>(operation.data),
                          static_cast<socklen_t>(operation.size_bytes));
    io_uring_sqe_set_data64(entry, name_of(operation));
}

inline void submit_poll(UringQueues& queues, Descriptor descriptor, unsigned events,
                        std::uint64_t name) {
    io_uring_sqe* entry = queues.next_entry();
    io_uring_prep_poll_add(entry, descriptor.number(), events);
    mark_kind(*entry, descriptor);
    io_uring_sqe_set_data64(entry, name);
}

inline void submit_send(UringQueues& queues, const Operation& operation) {
    submit_transfer(queues, operation, IORING_OP_SEND, MSG_NOSIGNAL, Tag::operation);
}

inline void submit_zero_copy(UringQueues& queues, const Operation& operation) {
    constexpr std::uint16_t report_usage = 1U << 3; // IORING_SEND_ZC_REPORT_USAGE (Linux 6.2)
    const auto size =
        static_cast<unsigned>(std::min<std::size_t>(operation.rest_bytes(), std::size_t{1} << 30));
    io_uring_sqe* entry = queues.next_entry();
    prepare(*entry, IORING_OP_SEND_ZC, operation.descriptor, operation.rest(), size);
    // The kernel sends the rest by itself; otherwise each piece would wait for the peer.
    entry->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
    entry->ioprio |= report_usage;
    io_uring_sqe_set_data64(entry, name_of(operation));
}

/// A receive into memory that the operation has.
inline void submit_receive(UringQueues& queues, const Operation& operation) {
    if (operation.opcode == Opcode::read_buffer) [[unlikely]]
        return submit_stream(queues, operation, IORING_OP_READ);
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

/// For a descriptor that other code made non-blocking: polls, then starts the operation again (Tag::readiness). The
/// mode also belongs to others that share the descriptor, such as an epoll loop at the same listener or a program at
/// the same terminal: it is not ours to change. Retrying at once would keep us and the kernel busy.
inline void wait_until_ready(UringQueues& queues, FinishedList& finished, Operation& operation) {
    if (operation.cancel_requested) return finished.add(operation, -ECANCELED);
    operation.standby = Operation::Standby::polls;
    submit_poll(queues, operation.descriptor, operation.is_outbound() ? POLLOUT : POLLIN,
                name_of(operation, Tag::readiness));
}

} // namespace ringlet::uring
