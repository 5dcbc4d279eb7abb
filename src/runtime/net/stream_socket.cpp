#include <ringlet/stream_socket.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "base/canary.hpp"
#include "base/kernel.hpp"
#include "net/socket.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>

namespace ringlet {

namespace {

// Any other kind of descriptor would be read and written in the wrong way.
void check_kind(int fd) {
    Kernel& kernel = Kernel::of_this_thread();
    auto type = kernel.option(fd, SOL_SOCKET, SO_TYPE);
    if (type.error() == std::errc::bad_file_descriptor) return; // every use will say so
    auto family = kernel.option(fd, SOL_SOCKET, SO_DOMAIN);
    const bool is_known =
        family && (*family == AF_INET || *family == AF_INET6 || *family == AF_UNIX);
    RINGLET_ASSERT(type && *type == SOCK_STREAM && is_known,
                   "a stream was made of a descriptor that is no stream socket of IPv4, IPv6 or "
                   "Unix: for pipes and terminals there is PipeReader, for others readable()");
    // Otherwise io_uring answers EAGAIN instead of waiting.
    kernel.make_blocking(fd);
}

} // namespace

StreamSocket::StreamSocket(UniqueFd fd) {
    if (fd) check_kind(fd.get());
    socket_ = SocketHandle(new Socket(std::move(fd)));
}

void keep_in_table(LoopCore& loop, StreamSocket& stream) {
    class Kept : public StreamSocket {
    public:
        explicit Kept(SocketHandle socket) : StreamSocket(std::move(socket)) {}
    };
    auto place = loop.adopt(stream.native_handle());
    if (place) stream = Kept(SocketHandle(new Socket(*place, loop)));
}

Result<UniqueFd> another_descriptor_of(const StreamSocket& stream) {
    class Open : public StreamSocket {
    public:
        using StreamSocket::socket;
    };
    return (stream.*(&Open::socket))().ask([](Kernel&, int fd) -> Result<UniqueFd> {
        UniqueFd another(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
        if (!another) return error_from_errno(errno);
        return another;
    });
}

Socket& StreamSocket::socket() const {
    if (!socket_) [[unlikely]]
        used_empty("a stream");
    return *socket_.get();
}

RecvBufferAwaiter StreamSocket::recv() {
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::recv_buffer, nullptr, Buffer::capacity_bytes);
    return {socket, socket.inbound};
}

TransferAwaiter StreamSocket::recv(std::span<std::byte> memory) {
    RINGLET_ASSERT(!memory.empty(),
                   "recv into no memory: 0 bytes would look like the end of stream");
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::recv, memory.data(), memory.size());
    return {socket, socket.inbound};
}

WholeAwaiter StreamSocket::recv_exactly(std::span<std::byte> memory) {
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::recv, memory.data(), memory.size(),
                     Operation::Extent::whole);
    return {socket, socket.inbound};
}

namespace {

// The kernel only reads what is sent; one Operation describes both directions.
void configure_send(Socket& socket, std::span<const std::byte> bytes, Operation::Extent extent,
                    Opcode opcode = Opcode::send) {
    socket.configure(socket.outbound, opcode, const_cast<std::byte*>(bytes.data()), bytes.size(),
                     extent);
}

} // namespace

TransferAwaiter StreamSocket::send_some(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_send(socket, bytes, Operation::Extent::some);
    return {socket, socket.outbound};
}

WholeAwaiter StreamSocket::send_all(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_send(socket, bytes, Operation::Extent::whole);
    return {socket, socket.outbound};
}

WholeAwaiter StreamSocket::send_all_zero_copy(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_send(socket, bytes, Operation::Extent::whole, Opcode::send_zero_copy);
    return {socket, socket.outbound};
}

Result<std::size_t> StreamSocket::try_send(std::span<const std::byte> bytes) {
    if (bytes.empty()) return std::size_t{0};
    // Asserts that nothing is in flight, and names what is.
    configure_send(socket(), bytes, Operation::Extent::some);
    return socket().send_now(bytes);
}

std::size_t StreamSocket::last_sent_bytes() const noexcept {
    return socket().outbound.transferred_bytes;
}

std::size_t StreamSocket::last_received_bytes() const noexcept {
    return socket().inbound.transferred_bytes;
}

Result<void> StreamSocket::shutdown_write() {
    if (lives(Canary::wrong_half_close)) socket().cancel_requests();
    return socket().ask(&Kernel::shutdown_write);
}

MessageAwaiter::MessageAwaiter(Socket& socket, std::span<const Piece> pieces)
    : WholeAwaiter(socket, socket.outbound) {
    std::size_t sum = 0;
    for (const Piece& piece : pieces) sum += piece.size();
    socket.configure(socket.outbound, Opcode::send_message, nullptr, sum, Operation::Extent::whole);
}

bool MessageAwaiter::suspend_for(std::span<const Piece> pieces, CancelScope& scope,
                                 std::coroutine_handle<> waiter) {
    message_.set_pieces(pieces.empty() ? nullptr : pieces.front().place(), pieces.size());
    operation_->data = &message_;
    return suspend(scope, waiter);
}

void StreamSocket::abort() noexcept {
    if (!socket_) return;
    static_cast<void>(socket().ask(&Kernel::reset_on_close));
    socket_ = SocketHandle();
}

bool StreamSocket::is_open_and_idle() const {
    if (socket().inbound.state != Operation::State::idle) return false;
    auto idle = socket().ask_idle();
    return idle && *idle;
}

CloseAwaiter StreamSocket::close() { return CloseAwaiter(std::move(socket_)); }

Result<Endpoint> StreamSocket::peer() const { return socket().peer(); }

void StreamSocket::set_peer(const Endpoint& peer) { socket().name_peer(peer); }

Result<Endpoint> StreamSocket::local() const { return socket().ask(&Kernel::local); }

int StreamSocket::native_handle() const noexcept { return socket().fd(); }

void StreamSocket::limit_idle_time() noexcept { socket().limit_idle_time(); }

} // namespace ringlet
