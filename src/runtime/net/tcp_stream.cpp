#include <ringlet/tcp_stream.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "base/canary.hpp"
#include "base/kernel.hpp"
#include "net/socket_state.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

namespace ringlet {

TcpStream::TcpStream(UniqueFd fd) : socket_(new Socket(std::move(fd))) {}

Socket& TcpStream::socket() const {
    RINGLET_ASSERT(socket_, "a TcpStream was used that is empty: moved from, or closed");
    return *socket_.get();
}

RecvBufferAwaiter TcpStream::recv() {
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::recv_buffer, nullptr, Buffer::capacity_bytes);
    return {socket, socket.inbound};
}

TransferAwaiter TcpStream::recv(std::span<std::byte> memory) {
    RINGLET_ASSERT(!memory.empty(),
                   "recv into no memory: 0 bytes would look like the end of stream");
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::recv, memory.data(), memory.size());
    return {socket, socket.inbound};
}

WholeAwaiter TcpStream::recv_exactly(std::span<std::byte> memory) {
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

TransferAwaiter TcpStream::send_some(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_send(socket, bytes, Operation::Extent::some);
    return {socket, socket.outbound};
}

WholeAwaiter TcpStream::send_all(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_send(socket, bytes, Operation::Extent::whole);
    return {socket, socket.outbound};
}

WholeAwaiter TcpStream::send_all_zero_copy(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_send(socket, bytes, Operation::Extent::whole, Opcode::send_zero_copy);
    return {socket, socket.outbound};
}

std::size_t TcpStream::last_sent_bytes() const noexcept {
    return socket().outbound.transferred_bytes;
}

std::size_t TcpStream::last_received_bytes() const noexcept {
    return socket().inbound.transferred_bytes;
}

Result<void> TcpStream::shutdown_write() {
    if (lives(Canary::wrong_half_close)) socket().cancel_requests();
    return socket().ask(&Kernel::shutdown_write);
}

CloseAwaiter TcpStream::close() { return CloseAwaiter(std::move(socket_)); }

Result<Endpoint> TcpStream::peer() const { return socket().ask(&Kernel::peer); }

Result<Endpoint> TcpStream::local() const { return socket().ask(&Kernel::local); }

int TcpStream::native_handle() const noexcept { return socket().fd(); }

void TcpStream::limit_idle_time() noexcept { socket().limit_idle_time(); }

// ---- connect ------------------------------------------------------------------------------------

ConnectAwaiter TcpStream::connect(const Endpoint& peer, const ConnectOptions& options) {
    return {peer, options};
}

namespace {

Result<UniqueFd> open_bound_socket(const Endpoint& peer, const ConnectOptions& options) {
    auto fd = open_tcp_socket(peer.family(), options.no_delay);
    if (!fd || !options.from) return fd;

    // Many connections from one address: the kernel must not reserve a port before it knows the
    // peer (ip(7), IP_BIND_ADDRESS_NO_PORT).
    Kernel& kernel = Kernel::of_this_thread();
    static_cast<void>(kernel.set_option(fd->get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
    auto bound = kernel.bind(fd->get(), *options.from);
    if (!bound) return bound.error();
    return fd;
}

} // namespace

ConnectAwaiter::ConnectAwaiter(const Endpoint& peer, const ConnectOptions& options) : peer_(peer) {
    auto fd = open_bound_socket(peer, options);
    if (fd) {
        socket_ = SocketHandle(new Socket(std::move(*fd)));
        if (options.limit_idle_time) socket_.get()->limit_idle_time();
    } else {
        opened_ = fd.error();
    }
}

bool ConnectAwaiter::suspend(CancelScope& scope, std::coroutine_handle<> waiter) {
    if (!opened_) {
        const auto admission = scope.loop->admit(scope);
        if (admission == LoopCore::Admission::proceed)
            return scope.loop->answered_at_once(scope, waiter);
        opened_ = std::errc::operation_canceled;
        return scope.loop->suspend_refused(admission, scope, waiter);
    }
    Socket& socket = *socket_.get();
    socket.configure(socket.outbound, Opcode::connect, const_cast<sockaddr*>(peer_.data()),
                     peer_.size_bytes());
    return socket.start(socket.outbound, scope, waiter);
}

Result<TcpStream> ConnectAwaiter::await_resume() {
    if (!opened_) return opened_.error();
    Socket& socket = *socket_.get();
    const int answer = socket.outbound.result;
    socket.outbound.consume();
    if (answer < 0) return error_from_errno(-answer);
    return TcpStream(std::move(socket_));
}

} // namespace ringlet
