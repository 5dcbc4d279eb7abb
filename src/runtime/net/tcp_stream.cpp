#include <ringlet/tcp_stream.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

namespace ringlet {

ConnectAwaiter TcpStream::connect(const Endpoint& peer, const ConnectOptions& options) {
    return {peer, options};
}

namespace {

Result<UniqueFd> open_bound_socket(const Endpoint& peer, const ConnectOptions& options) {
    if (peer.is_unix()) return std::errc::address_family_not_supported;
    auto fd = open_tcp_socket(peer.family(), options.no_delay, options.liveness);
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

ConnectAwaiter::ConnectAwaiter(const Endpoint& peer, const ConnectOptions& options)
    : ConnectingSocket(peer, open_bound_socket(peer, options)) {
    if (socket_ && options.limit_idle_time) socket_.get()->limit_idle_time();
}

namespace {

// Two successes are not believed: io_uring reports success for a connect whose SYN was refused by an ICMP message (seen
// with Linux 6.18); and where there is no listener, the kernel may choose the same port for this side, and TCP's
// simultaneous open connects the socket to itself (RFC 9293, 3.5).
Result<void> check_connected(Kernel& kernel, int fd, const Endpoint& wanted) {
    const auto peer = kernel.peer(fd);
    if (!peer) {
        const auto pending = kernel.option(fd, SOL_SOCKET, SO_ERROR);
        if (pending && *pending != 0) return error_from_errno(*pending);
        return peer.error();
    }
    if (peer->port() != wanted.port()) return {};
    const auto local = kernel.local(fd);
    if (local && *local == *peer) return Errc::connected_to_itself;
    return {};
}

} // namespace

Result<TcpStream> ConnectAwaiter::await_resume() {
    auto socket = take_socket();
    if (!socket) return socket.error();
    const auto checked = socket->get()->ask(
        [this](Kernel& kernel, int fd) { return check_connected(kernel, fd, peer_); });
    if (!checked) return checked.error();
    return TcpStream(std::move(*socket));
}

} // namespace ringlet
