// Messages of the simulated network: datagrams, and descriptors that travel through Unix sockets.

#include "simulation/simulated_network.hpp"

#include <ringlet/detail/message.hpp>
#include <ringlet/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>

namespace ringlet::testing {

namespace {

using std::chrono::microseconds;

// How much one receiver keeps: more is lost, or waits if it is a Unix socket (net.core.rmem_default in bytes,
// and net.unix.max_dgram_qlen).
constexpr std::size_t queue_limit_bytes = 212'992;
constexpr std::size_t unix_queue_limit = 11;

constexpr std::size_t largest_udp_bytes = 65'507;

// No message here has more than one piece of memory to receive into.
std::span<std::byte> memory_of(const msghdr& header) {
    return {static_cast<std::byte*>(header.msg_iov->iov_base), header.msg_iov->iov_len};
}

// Calls `take` for each piece of control data, with its level and type.
template <class Take>
void each_control(const msghdr& header, Take take) {
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
         control = CMSG_NXTHDR(const_cast<msghdr*>(&header), control)) {
        take(*control);
    }
}

template <class Info>
Info info_of(const cmsghdr& control) {
    Info info{};
    std::memcpy(&info, CMSG_DATA(&control), sizeof info);
    return info;
}

void set_control(msghdr& header, int level, int type, const void* data, std::size_t size_bytes) {
    auto* control = static_cast<cmsghdr*>(header.msg_control);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(size_bytes);
    std::memcpy(CMSG_DATA(control), data, size_bytes);
    header.msg_controllen = CMSG_SPACE(size_bytes);
}

} // namespace

std::optional<std::int32_t> SimulatedNetwork::recv_message(Socket& socket,
                                                           const Operation& operation) {
    auto& message = *static_cast<Message*>(operation.data);
    message.skip(0);
    if (socket.kind == Socket::Kind::datagrams) return recv_datagram(socket, message.header);
    const auto answer = recv(socket, memory_of(message.header), &message.header);
    if (answer == 0) message.header.msg_controllen = 0; // no descriptors come with the end
    return answer;
}

std::optional<std::int32_t> SimulatedNetwork::send_message(Socket& socket,
                                                           const Operation& operation) {
    auto& message = *static_cast<Message*>(operation.data);
    message.skip(operation.transferred_bytes);
    std::vector<std::byte> bytes;
    for (const iovec& piece : message) {
        const auto* begin = static_cast<const std::byte*>(piece.iov_base);
        bytes.insert(bytes.end(), begin, begin + piece.iov_len);
    }
    if (socket.kind == Socket::Kind::datagrams) {
        return send_datagrams(socket, message.header, bytes);
    }
    return send(socket, bytes, &message.header);
}

// ---- descriptors --------------------------------------------------------------------------------

// Duplicates the descriptors that a message carries, simulated and real ones.
Result<std::vector<UniqueFd>> SimulatedNetwork::duplicate(const msghdr& message) {
    std::vector<UniqueFd> duplicates;
    int error = 0;
    each_control(message, [&](const cmsghdr& control) {
        if (control.cmsg_level != SOL_SOCKET || control.cmsg_type != SCM_RIGHTS) return;
        for (std::size_t at = CMSG_LEN(0); at < control.cmsg_len; at += sizeof(int)) {
            int fd = -1;
            std::memcpy(&fd, reinterpret_cast<const std::byte*>(&control) + at, sizeof fd);
            const SocketPtr simulated = find(fd);
            UniqueFd other(simulated ? give_descriptor(simulated)
                                     : ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
            if (!other) error = EBADF;
            duplicates.push_back(std::move(other));
        }
    });
    if (error != 0) return error_from_errno(error);
    return duplicates;
}

// Gives descriptors that came with the next byte to a receive that asked for them; otherwise closes them.
void SimulatedNetwork::hand_over(Socket& socket, msghdr* message) {
    if (message != nullptr) message->msg_flags = 0;
    const std::size_t room = message != nullptr ? std::exchange(message->msg_controllen, 0) : 0;
    if (socket.passed.empty() || socket.passed.front().before_bytes != socket.received_bytes) {
        return;
    }
    Passed passed = std::move(socket.passed.front());
    socket.passed.pop_front();
    if (room == 0) return;
    if (exhausted_by_a_fault() != 0) {
        message->msg_flags = MSG_CTRUNC;
        return;
    }
    std::vector<int> fds;
    fds.reserve(passed.descriptors.size());
    for (UniqueFd& fd : passed.descriptors) fds.push_back(fd.release());
    set_control(*message, SOL_SOCKET, SCM_RIGHTS, fds.data(), fds.size() * sizeof(int));
}

// ---- datagrams ----------------------------------------------------------------------------------

Result<void> SimulatedNetwork::choose_peer(int fd, const Endpoint& peer) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_from_errno(EBADF);
    if (socket->family != peer.family()) return error_from_errno(EAFNOSUPPORT);
    name(*socket);
    socket->peer_name = seen_from_here(peer);
    socket->local = seen_from_here(socket->local);
    if (peer.is_unix() &&
        !receiver_of({.sender = {}, .from = socket->local, .to = peer, .bytes = {}}))
        return error_from_errno(ECONNREFUSED);
    socket->has_peer = true;
    return {};
}

// A socket that sends or chooses a peer has a port from then on.
void SimulatedNetwork::name(Socket& socket) {
    if (socket.local.port() == 0) socket.local.set_port(free_port());
}

SimulatedNetwork::SocketPtr SimulatedNetwork::receiver_of(const Datagram& datagram) const {
    for (const SocketPtr& socket : descriptors_) {
        if (!socket || socket->kind != Socket::Kind::datagrams) continue;
        if (socket->has_peer && !(socket->peer_name == datagram.from)) continue;
        const bool matches =
            socket->local == datagram.to ||
            (is_any_address(socket->local) && socket->family == datagram.to.family() &&
             socket->local.port() == datagram.to.port());
        if (matches) return socket;
    }
    return nullptr;
}

std::optional<std::int32_t> SimulatedNetwork::send_datagrams(Socket& socket, const msghdr& message,
                                                             std::span<const std::byte> bytes) {
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (socket.error != 0) return -std::exchange(socket.error, 0);
    Datagram datagram{
        .sender = socket.weak_from_this(), .from = {}, .to = socket.peer_name, .bytes = {}};
    if (message.msg_name != nullptr) {
        sockaddr_storage name{};
        std::memcpy(&name, message.msg_name, message.msg_namelen);
        datagram.to = Endpoint::from_sockaddr(name, message.msg_namelen);
    } else if (!socket.has_peer) {
        return -EDESTADDRREQ;
    }
    if (datagram.to.family() != socket.family) return -EAFNOSUPPORT;
    name(socket);
    datagram.to = seen_from_here(datagram.to);
    datagram.from = seen_from_here(socket.local);
    std::size_t segment_bytes = std::max<std::size_t>(bytes.size(), 1);
    each_control(message, [&](const cmsghdr& control) {
        if (control.cmsg_level == IPPROTO_UDP && control.cmsg_type == UDP_SEGMENT) {
            segment_bytes = info_of<std::uint16_t>(control);
        }
        sockaddr_storage from{};
        std::memcpy(&from, datagram.from.data(), datagram.from.size_bytes());
        if (control.cmsg_level == IPPROTO_IP && control.cmsg_type == IP_PKTINFO) {
            reinterpret_cast<sockaddr_in&>(from).sin_addr =
                info_of<in_pktinfo>(control).ipi_spec_dst;
        }
        if (control.cmsg_level == IPPROTO_IPV6 && control.cmsg_type == IPV6_PKTINFO) {
            reinterpret_cast<sockaddr_in6&>(from).sin6_addr =
                info_of<in6_pktinfo>(control).ipi6_addr;
        }
        datagram.from = Endpoint::from_sockaddr(from, datagram.from.size_bytes());
    });
    if (datagram.to.is_unix()) {
        const SocketPtr receiver = receiver_of(datagram);
        if (!receiver) return -ECONNREFUSED;
        if (receiver->datagrams.size() >= unix_queue_limit) return std::nullopt;
        datagram.bytes.assign(bytes.begin(), bytes.end());
        deliver(std::move(datagram));
        return static_cast<std::int32_t>(bytes.size());
    }
    if (bytes.size() > largest_udp_bytes) return -EMSGSIZE;
    if (socket.latency == Clock::duration()) socket.latency = microseconds(1 + plan_.below(2000));
    std::size_t sent_bytes = 0;
    do {
        const std::size_t size = std::min(segment_bytes, bytes.size() - sent_bytes);
        const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(sent_bytes);
        datagram.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
        sent_bytes += size;
        post(datagram, socket.latency);
    } while (sent_bytes < bytes.size());
    return static_cast<std::int32_t>(bytes.size());
}

// Sends a datagram on its way, where faults may strike it.
void SimulatedNetwork::post(Datagram datagram, Clock::duration latency) {
    if (plan_.strikes(Fault::lost_datagram)) return;
    if (plan_.strikes(Fault::doubled_datagram)) {
        datagrams_.emplace(now_ + latency + microseconds(plan_.below(5000)), datagram);
    }
    if (plan_.strikes(Fault::late_datagram)) latency += microseconds(1 + plan_.below(50'000));
    datagrams_.emplace(now_ + latency, std::move(datagram));
}

void SimulatedNetwork::deliver(Datagram datagram) {
    const SocketPtr receiver = receiver_of(datagram);
    if (!receiver) {
        // The ICMP answer says that the port is closed; a connected sender gets it as an error (udp(7)).
        const SocketPtr sender = datagram.sender.lock();
        if (sender && sender->has_peer) {
            sender->error = ECONNREFUSED;
            note_change(sender);
        }
        return;
    }
    std::size_t held_bytes = datagram.bytes.size();
    for (const Datagram& held : receiver->datagrams) held_bytes += held.bytes.size();
    if (held_bytes > queue_limit_bytes && !datagram.to.is_unix()) {
        return plan_.note(Fault::lost_datagram);
    }
    receiver->datagrams.push_back(std::move(datagram));
    note_change(receiver);
}

std::optional<std::int32_t> SimulatedNetwork::recv_datagram(Socket& socket, msghdr& message) {
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (socket.error != 0) return -std::exchange(socket.error, 0);
    if (socket.datagrams.empty()) return std::nullopt;
    const Datagram datagram = std::move(socket.datagrams.front());
    socket.datagrams.pop_front();
    if (socket.family == AF_UNIX) { // there is room for one more
        for (const SocketPtr& other : descriptors_) {
            if (other && other->family == AF_UNIX) note_change(other);
        }
    }
    const std::span<std::byte> memory = memory_of(message);
    const std::size_t size = std::min(memory.size(), datagram.bytes.size());
    std::copy_n(datagram.bytes.begin(), size, memory.begin());
    message.msg_flags = size < datagram.bytes.size() ? MSG_TRUNC : 0;
    if (message.msg_name != nullptr) {
        std::memcpy(message.msg_name, datagram.from.data(), datagram.from.size_bytes());
        message.msg_namelen = datagram.from.size_bytes();
    }
    message.msg_controllen = 0;
    if (socket.tells_destination && datagram.to.is_v6()) {
        sockaddr_in6 address{};
        std::memcpy(&address, datagram.to.data(), sizeof address);
        const in6_pktinfo info{.ipi6_addr = address.sin6_addr, .ipi6_ifindex = 1};
        set_control(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    } else if (socket.tells_destination) {
        sockaddr_in address{};
        std::memcpy(&address, datagram.to.data(), sizeof address);
        const in_pktinfo info{
            .ipi_ifindex = 1, .ipi_spec_dst = address.sin_addr, .ipi_addr = address.sin_addr};
        set_control(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
    return static_cast<std::int32_t>(size);
}

Result<std::size_t> SimulatedNetwork::take_message(int fd, msghdr& message) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_from_errno(EBADF);
    if (socket->kind != Socket::Kind::datagrams) return error_from_errno(EOPNOTSUPP);
    const auto taken = recv_datagram(*socket, message);
    if (!taken) return error_from_errno(EAGAIN);
    if (*taken < 0) return error_from_errno(-*taken);
    return static_cast<std::size_t>(*taken);
}

} // namespace ringlet::testing
