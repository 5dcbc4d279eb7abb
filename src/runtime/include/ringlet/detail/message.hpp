#pragma once

#include <ringlet/detail/config.hpp>

#include <cstddef>
#include <cstdint>

#include <sys/socket.h>
#include <sys/uio.h>

namespace RINGLET_EXPORT ringlet {

/// What a request lends that is more than one block of memory: several pieces, an address, descriptors.
///
/// Lifetime  As the request: the kernel reads and writes it. Does not move.
class Message {
public:
    Message() noexcept = default;
    // Only for passing one on before the request begins.
    Message(const Message&) noexcept {}
    Message& operator=(const Message&) = delete;

    /// What sendmsg(2) and recvmsg(2) take. The ring fills in the pieces; all else is the caller's.
    msghdr header{};

    /// The pieces that are sent, or filled. Any number; they outlive the request.
    void set_pieces(const iovec* pieces, std::size_t count) noexcept {
        next_ = pieces;
        end_ = pieces + count;
        before_bytes_ = 0;
    }

    /// Points the header to what remains after so many bytes: as many pieces as one system call takes (IOV_MAX);
    /// or the rest of one that went out in part.
    void skip(std::size_t transferred_bytes) noexcept;

    /// What remains, for a caller that reads it by itself: see `skip`.
    [[nodiscard]] const iovec* begin() const noexcept { return header.msg_iov; }
    [[nodiscard]] const iovec* end() const noexcept { return header.msg_iov + header.msg_iovlen; }

private:
    const iovec* next_ = nullptr;
    const iovec* end_ = nullptr;
    std::size_t before_bytes_ = 0; // of the pieces before the next
    iovec part_{};
};

/// A place in a file, and the memory for it.
struct FileRange {
    void* bytes = nullptr;
    std::uint64_t offset = 0;
};

} // namespace ringlet
