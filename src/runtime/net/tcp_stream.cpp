#include <ringlet/tcp_stream.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket_state.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

namespace ringlet {

ConnectAwaiter TcpStream::connect(const Endpoint& peer, const ConnectOptions& options) {
    return {peer, options};
}

namespace {

Result<UniqueFd> open_bound_socket(const Endpoint& peer, const ConnectOptions& options) {
    if (peer.is_unix()) return std::errc::address_family_not_supported;
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

ConnectAwaiter::ConnectAwaiter(const Endpoint& peer, const ConnectOptions& options)
    : ConnectingSocket(peer, open_bound_socket(peer, options)) {
    if (socket_ && options.limit_idle_time) socket_.get()->limit_idle_time();
}

namespace {

// Where nobody listens, the kernel may choose that very port for this side, and TCP's simultaneous open lets the
// socket meet itself (RFC 9293, 3.5).
bool is_own_peer(const Socket& socket, const Endpoint& wanted) {
    const auto local = socket.ask(&Kernel::local);
    if (!local || local->port() != wanted.port()) return false;
    const auto peer = socket.ask(&Kernel::peer);
    return peer && *peer == *local;
}

} // namespace

Result<TcpStream> ConnectAwaiter::await_resume() {
    auto socket = take_socket();
    if (!socket) return socket.error();
    if (is_own_peer(*socket->get(), peer_)) return Errc::connected_to_itself;
    return TcpStream(std::move(*socket));
}

} // namespace ringlet
