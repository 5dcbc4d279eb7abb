// Descriptors and names of the simulated network: its system calls that do not wait.

#include "simulation/simulated_network.hpp"

#include <ringlet/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>

namespace ringlet::testing {

namespace {

std::error_code error_of(int number) { return error_from_errno(number); }

} // namespace

bool SimulatedNetwork::is_any_address(const Endpoint& endpoint) {
    return endpoint == any_of(endpoint.family(), endpoint.port()) && !endpoint.is_unix();
}

// The address of an unbound socket; a Unix socket has none.
Endpoint SimulatedNetwork::any_of(int family, std::uint16_t port) {
    if (family == AF_UNIX) {
        sockaddr_storage unnamed{};
        unnamed.ss_family = AF_UNIX;
        return Endpoint::from_sockaddr(unnamed, sizeof unnamed.ss_family);
    }
    Endpoint any = Endpoint::parse(family == AF_INET6 ? "[::]:0" : "0.0.0.0:0").value();
    any.set_port(port);
    return any;
}

Endpoint SimulatedNetwork::loopback_of(int family) {
    return Endpoint::parse(family == AF_INET6 ? "[::1]:0" : "127.0.0.1:0").value();
}

// A sender sees the wildcard address as this machine.
Endpoint SimulatedNetwork::seen_from_here(const Endpoint& endpoint) {
    if (!is_any_address(endpoint)) return endpoint;
    Endpoint seen = loopback_of(endpoint.family());
    seen.set_port(endpoint.port());
    return seen;
}

// ---- descriptors --------------------------------------------------------------------------------

SimulatedNetwork::SocketPtr SimulatedNetwork::find(int fd) const noexcept {
    const auto index = static_cast<std::size_t>(fd - first_simulated_descriptor);
    return is_simulated(fd) && index < descriptors_.size() ? descriptors_[index] : nullptr;
}

// The lowest free one, as in the real kernel, so that code that uses a descriptor after closing it
// meets another socket.
int SimulatedNetwork::give_descriptor(SocketPtr socket) {
    auto free = std::find(descriptors_.begin(), descriptors_.end(), nullptr);
    if (free == descriptors_.end()) free = descriptors_.insert(free, nullptr);
    *free = std::move(socket);
    ++open_count_;
    return first_simulated_descriptor + static_cast<int>(free - descriptors_.begin());
}

Result<int> SimulatedNetwork::open(int family, int type) {
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) return error_of(EAFNOSUPPORT);
    if (has_begun_) {
        if (const int error = exhausted_by_a_fault()) return error_of(error);
    }
    auto socket = std::make_shared<Socket>();
    socket->family = family;
    socket->local = any_of(family);
    if (type == SOCK_DGRAM) socket->kind = Socket::Kind::datagrams;
    return give_descriptor(std::move(socket));
}

Result<std::pair<int, int>> SimulatedNetwork::open_pair() {
    auto one = std::make_shared<Socket>();
    auto other = std::make_shared<Socket>();
    one->family = other->family = AF_INET; // `Simulation::pair` makes TCP streams
    one->local = other->local = loopback_of(AF_INET);
    one->local.set_port(free_port());
    other->local.set_port(free_port());
    join(one, other);
    const int first = give_descriptor(std::move(one));
    return std::pair(first, give_descriptor(std::move(other)));
}

// A pair whose reading end cannot send, and which ends only in the ways that pipes do.
Result<std::pair<int, int>> SimulatedNetwork::open_pipe() {
    if (has_begun_) {
        if (const int error = exhausted_by_a_fault()) return error_of(error);
    }
    auto fds = open_pair();
    if (!fds) return fds;
    find(fds->first)->is_pipe = find(fds->second)->is_pipe = true;
    return fds;
}

void SimulatedNetwork::close(int fd) {
    const SocketPtr socket = find(fd);
    if (!socket) return;
    descriptors_[static_cast<std::size_t>(fd - first_simulated_descriptor)] = nullptr;
    --open_count_;
    if (std::ranges::find(descriptors_, socket) != descriptors_.end()) return; // not its last one
    for (const SocketPtr& client : socket->pending) break_off(*client, ECONNRESET);
    hang_up(*socket);
}

// ---- names --------------------------------------------------------------------------------------

bool SimulatedNetwork::is_taken(const Endpoint& endpoint, bool by_datagrams) const {
    return std::ranges::any_of(descriptors_, [&](const SocketPtr& socket) {
        return socket && socket->kind != Socket::Kind::connected &&
               (socket->kind == Socket::Kind::datagrams) == by_datagrams &&
               socket->family == endpoint.family() && socket->local.port() == endpoint.port() &&
               (socket->local == endpoint || is_any_address(socket->local) ||
                is_any_address(endpoint));
    });
}

std::uint16_t SimulatedNetwork::free_port() {
    constexpr std::uint16_t first = 32'768;
    constexpr std::uint16_t last = 60'999;
    const auto is_in_use = [this](const SocketPtr& socket) {
        return socket && socket->local.port() == next_port_;
    };
    for (int tries = first; tries <= last; ++tries) {
        next_port_ = next_port_ == last ? first : static_cast<std::uint16_t>(next_port_ + 1);
        if (std::ranges::none_of(descriptors_, is_in_use)) break;
    }
    return next_port_;
}

Result<void> SimulatedNetwork::bind(int fd, const Endpoint& endpoint) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    if (!(socket->local == any_of(socket->family))) return error_of(EINVAL);
    if (socket->family != endpoint.family()) {
        return error_of(endpoint.is_v6() ? EAFNOSUPPORT : EINVAL);
    }
    Endpoint chosen = endpoint;
    if (endpoint.port() == 0 && !endpoint.is_unix()) {
        chosen.set_port(free_port());
    } else if (is_taken(endpoint, socket->kind == Socket::Kind::datagrams)) {
        return error_of(EADDRINUSE);
    }
    socket->local = chosen;
    return {};
}

Result<void> SimulatedNetwork::listen(int fd, int backlog) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    if (socket->kind == Socket::Kind::datagrams) return error_of(EOPNOTSUPP);
    if (socket->kind == Socket::Kind::connecting || socket->kind == Socket::Kind::connected) {
        return error_of(EINVAL);
    }
    if (socket->local.port() == 0 && socket->family != AF_UNIX) socket->local.set_port(free_port());
    socket->kind = Socket::Kind::listening;
    socket->backlog = static_cast<std::size_t>(std::max(backlog, 1));
    return {};
}

Result<std::size_t> SimulatedNetwork::accept_waiting(int listener, std::span<UniqueFd> taken) {
    const SocketPtr socket = find(listener);
    if (!socket) return error_of(EBADF);
    std::size_t count = 0;
    while (count < taken.size() && !socket->pending.empty()) {
        const auto answer = accept(*socket);
        if (!answer) break;
        if (*answer < 0) {
            if (count == 0) return error_of(-*answer);
            break;
        }
        taken[count++] = UniqueFd(*answer);
    }
    return count;
}

Result<Endpoint> SimulatedNetwork::local(int fd) const {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    return socket->local;
}

Result<Endpoint> SimulatedNetwork::peer(int fd) const {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    const bool is_connected = socket->kind == Socket::Kind::connected && !socket->is_over();
    if (!is_connected && !socket->has_peer) return error_of(ENOTCONN);
    return socket->peer_name;
}

SimulatedNetwork::SocketPtr SimulatedNetwork::listener_at(const Endpoint& endpoint) const {
    for (const SocketPtr& socket : descriptors_) {
        if (!socket || socket->kind != Socket::Kind::listening) continue;
        const bool matches = socket->local == endpoint || (is_any_address(socket->local) &&
                                                           socket->family == endpoint.family() &&
                                                           socket->local.port() == endpoint.port());
        if (matches) return socket;
    }
    return nullptr;
}

Result<int> SimulatedNetwork::type(int fd) const {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    return socket->kind == Socket::Kind::datagrams ? SOCK_DGRAM : SOCK_STREAM;
}

// Only one option makes a difference here.
Result<void> SimulatedNetwork::set_option(int fd, int level, int name, int value) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    const bool tells = (level == IPPROTO_IP && name == IP_PKTINFO) ||
                       (level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO);
    if (tells) socket->tells_destination = value != 0;
    return {};
}

Result<void> SimulatedNetwork::reset_on_close(int fd) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    socket->resets = true;
    return {};
}

Result<bool> SimulatedNetwork::is_idle(int fd) const {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    return socket->kind == Socket::Kind::connected && !socket->ended && socket->error == 0 &&
           socket->taken_bytes == socket->arrived.size();
}

Result<void> SimulatedNetwork::shutdown_write(int fd) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    if (socket->kind != Socket::Kind::connected || socket->is_over()) return error_of(ENOTCONN);
    if (!std::exchange(socket->closed, true)) {
        if (const SocketPtr peer = socket->peer.lock()) send_to(peer, {});
    }
    note_change(socket);
    return {};
}

} // namespace ringlet::testing
