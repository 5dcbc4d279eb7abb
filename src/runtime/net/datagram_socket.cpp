#include <ringlet/datagram_socket.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket.hpp"

#include <cstdint>
#include <cstring>

#include <netinet/in.h>
#include <netinet/udp.h>

#ifndef UDP_GRO
#define UDP_GRO 104 // of Linux 5.0, which the C library's header may not know
#endif

namespace ringlet {

// ---- making -------------------------------------------------------------------------------------

namespace {

Result<UniqueFd> open_socket(int family, const DatagramOptions& options) {
    Kernel& kernel = Kernel::of_this_thread();
    auto fd = kernel.open_socket(family, SOCK_DGRAM);
    if (!fd) return fd.error();
    const bool is_v6 = family == AF_INET6;
    Result<void> set;
    const auto turn_on = [&](bool wanted, int level, int name) {
        if (set && wanted) set = kernel.set_option(fd->get(), level, name, 1);
    };
    turn_on(options.reuse_port, SOL_SOCKET, SO_REUSEPORT);
    turn_on(options.broadcast, SOL_SOCKET, SO_BROADCAST);
    if (family != AF_UNIX) {
        turn_on(is_v6 && options.v6_only, IPPROTO_IPV6, IPV6_V6ONLY);
        turn_on(options.tell_destination, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                is_v6 ? IPV6_RECVPKTINFO : IP_PKTINFO);
        turn_on(options.join_segments, IPPROTO_UDP, UDP_GRO);
    }
    if (!set) return set.error();
    return fd;
}

} // namespace

Result<DatagramSocket> DatagramSocket::bind(const Endpoint& endpoint,
                                            const DatagramOptions& options) {
    auto fd = open_socket(endpoint.family(), options);
    if (!fd) return fd.error();
    auto bound = Kernel::of_this_thread().bind(fd->get(), endpoint);
    if (!bound) return bound.error();
    return DatagramSocket(SocketHandle(new Socket(std::move(*fd))));
}

Result<DatagramSocket> DatagramSocket::connect(const Endpoint& peer,
                                               const DatagramOptions& options) {
    auto fd = open_socket(peer.family(), options);
    if (!fd) return fd.error();
    auto chosen = Kernel::of_this_thread().choose_peer(fd->get(), peer);
    if (!chosen) return chosen.error();
    return DatagramSocket(SocketHandle(new Socket(std::move(*fd))));
}

Socket& DatagramSocket::socket() const {
    if (!socket_) [[unlikely]]
        used_empty("a DatagramSocket");
    return *socket_.get();
}

// ---- receiving ----------------------------------------------------------------------------------

namespace {

template <class Info>
Info data_of(const cmsghdr& control) noexcept {
    Info info{};
    std::memcpy(&info, CMSG_DATA(&control), sizeof info);
    return info;
}

Endpoint endpoint_of(const in_addr& address) noexcept {
    sockaddr_storage storage{};
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr = address;
    std::memcpy(&storage, &v4, sizeof v4);
    return Endpoint::from_sockaddr(storage, sizeof v4);
}

Endpoint endpoint_of(const in6_pktinfo& info) noexcept {
    sockaddr_storage storage{};
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) v6.sin6_scope_id = info.ipi6_ifindex;
    std::memcpy(&storage, &v6, sizeof v6);
    return Endpoint::from_sockaddr(storage, sizeof v6);
}

ReceivedDatagram describe(std::size_t size_bytes, const sockaddr_storage& from, msghdr& header) {
    ReceivedDatagram datagram{.size_bytes = size_bytes,
                              .from = Endpoint::from_sockaddr(from, header.msg_namelen),
                              .to = {},
                              .truncated = (header.msg_flags & MSG_TRUNC) != 0};
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
         control = CMSG_NXTHDR(&header, control)) {
        if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO)
            datagram.to = endpoint_of(data_of<in_pktinfo>(*control).ipi_addr);
        if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO)
            datagram.to = endpoint_of(data_of<in6_pktinfo>(*control));
        if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO)
            datagram.segment_bytes = static_cast<std::size_t>(data_of<int>(*control));
    }
    return datagram;
}

} // namespace

RecvDatagramAwaiter DatagramSocket::recv_from(std::span<std::byte> memory) {
    return {socket(), memory};
}

RecvDatagramAwaiter::RecvDatagramAwaiter(Socket& socket, std::span<std::byte> memory)
    : SocketAwaiter(socket, socket.inbound),
      memory_{.iov_base = memory.data(), .iov_len = memory.size()} {
    socket.configure(socket.inbound, Opcode::recv_message, nullptr, memory.size());
}

bool RecvDatagramAwaiter::suspend_for(CancelScope& scope, std::coroutine_handle<> waiting) {
    operation_->data = &message_;
    message_.set_pieces(&memory_, 1);
    message_.header.msg_name = &from_;
    message_.header.msg_namelen = sizeof from_;
    message_.header.msg_control = control_.bytes.data();
    message_.header.msg_controllen = control_.bytes.size();
    return suspend(scope, waiting);
}

Result<ReceivedDatagram> RecvDatagramAwaiter::await_resume() {
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    return describe(static_cast<std::size_t>(answer), from_, message_.header);
}

Result<std::optional<ReceivedDatagram>> DatagramSocket::try_recv_from(std::span<std::byte> memory) {
    sockaddr_storage from{};
    RecvDatagramAwaiter::Control control;
    iovec place{.iov_base = memory.data(), .iov_len = memory.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &place;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    auto taken = Kernel::of_this_thread().take_message(socket().fd(), header);
    if (taken) return std::optional(describe(*taken, from, header));
    if (taken.error() == std::errc::resource_unavailable_try_again)
        return std::optional<ReceivedDatagram>();
    return taken.error();
}

// ---- sending ------------------------------------------------------------------------------------

SendDatagramAwaiter::SendDatagramAwaiter(Socket& socket, std::span<const std::byte> bytes,
                                         const std::optional<Endpoint>& to,
                                         const std::optional<Endpoint>& from,
                                         std::size_t segment_bytes)
    : SocketAwaiter(socket, socket.outbound),
      bytes_{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()}, to_(to),
      from_(from), segment_bytes_(segment_bytes) {
    socket.configure(socket.outbound, Opcode::send_message, nullptr, bytes.size());
}

namespace {

template <class Info>
void add_control(msghdr& header, int level, int type, const Info& info) {
    auto* control = reinterpret_cast<cmsghdr*>(static_cast<std::byte*>(header.msg_control) +
                                               header.msg_controllen);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(sizeof info);
    std::memcpy(CMSG_DATA(control), &info, sizeof info);
    header.msg_controllen += CMSG_SPACE(sizeof info);
}

void add_source(msghdr& header, const Endpoint& from) {
    if (from.is_v6()) {
        sockaddr_in6 address{};
        std::memcpy(&address, from.data(), sizeof address);
        in6_pktinfo info{};
        info.ipi6_addr = address.sin6_addr;
        info.ipi6_ifindex = address.sin6_scope_id;
        add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, info);
    } else {
        sockaddr_in address{};
        std::memcpy(&address, from.data(), sizeof address);
        in_pktinfo info{};
        info.ipi_spec_dst = address.sin_addr;
        add_control(header, IPPROTO_IP, IP_PKTINFO, info);
    }
}

} // namespace

bool SendDatagramAwaiter::suspend_for(CancelScope& scope, std::coroutine_handle<> waiting) {
    operation_->data = &message_;
    message_.set_pieces(&bytes_, 1);
    msghdr& header = message_.header;
    if (to_) {
        header.msg_name = const_cast<sockaddr*>(to_->data());
        header.msg_namelen = to_->size_bytes();
    }
    control_.bytes.fill({});
    header.msg_control = control_.bytes.data();
    header.msg_controllen = 0;
    if (from_) add_source(header, *from_);
    if (segment_bytes_ > 0)
        add_control(header, IPPROTO_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(segment_bytes_));
    if (header.msg_controllen == 0) header.msg_control = nullptr;
    return suspend(scope, waiting);
}

Result<void> SendDatagramAwaiter::await_resume() {
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    return {};
}

// ---- all else -----------------------------------------------------------------------------------

Result<void> DatagramSocket::change_group(int what, const Endpoint& group,
                                          unsigned interface_index) {
    group_req request{};
    request.gr_interface = interface_index;
    std::memcpy(&request.gr_group, group.data(), group.size_bytes());
    return Kernel::of_this_thread().change_group(socket().fd(), what, request);
}

Result<void> DatagramSocket::join_group(const Endpoint& group, unsigned interface_index) {
    return change_group(MCAST_JOIN_GROUP, group, interface_index);
}

Result<void> DatagramSocket::leave_group(const Endpoint& group, unsigned interface_index) {
    return change_group(MCAST_LEAVE_GROUP, group, interface_index);
}

CloseAwaiter DatagramSocket::close() { return CloseAwaiter(std::move(socket_)); }

Result<Endpoint> DatagramSocket::local() const { return socket().ask(&Kernel::local); }

Result<Endpoint> DatagramSocket::peer() const { return socket().ask(&Kernel::peer); }

int DatagramSocket::native_handle() const noexcept { return socket().fd(); }

} // namespace ringlet
