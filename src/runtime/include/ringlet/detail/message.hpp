#pragma once

#include <ringlet/detail/config.hpp>

#include <cstddef>
#include <cstdint>

#include <sys/socket.h>
#include <sys/uio.h>

namespace RINGLET_EXPORT ringlet {

/// What a request refers to beyond one block of memory: several pieces, an address, descriptors.
///
/// Lifetime  That of the request: the kernel reads and writes it. Does not move.
class Message {
public:
    Message() noexcept = default;
    // Only for passing a message on before the request begins.
    Message(const Message&) noexcept {}
    Message& operator=(const Message&) = delete;

    /// The header for sendmsg(2) and recvmsg(2). The ring fills in the pieces, the caller everything else.
    msghdr header{};

    /// The pieces to send or fill. Any number; they outlive the request.
    void set_pieces(const iovec* pieces, std::size_t count) noexcept {
        next_ = pieces;
        end_ = pieces + count;
        before_bytes_ = 0;
    }

    /// Points the header at what remains after `transferred_bytes`: as many pieces as one system call takes (IOV_MAX),
    /// or the rest of a piece that was transferred in part.
    void skip(std::size_t transferred_bytes) noexcept;

    /// The remaining pieces, for a caller that reads them itself: see `skip`.
    [[nodiscard]] const iovec* begin() const noexcept { return header.msg_iov; }
    [[nodiscard]] const iovec* end() const noexcept { return header.msg_iov + header.msg_iovlen; }

private:
    const iovec* next_ = nullptr;
    const iovec* end_ = nullptr;
    std::size_t before_bytes_ = 0; // total size of the pieces before the next
    iovec part_{};
};

/// An offset in a file, and the memory to transfer.
struct FileRange {
    void* bytes = nullptr;
    std::uint64_t offset = 0;
};

} // namespace ringlet
