#include <ringlet/unix_stream.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket.hpp"

#include <cerrno>
#include <cstring>

namespace ringlet {

Result<std::pair<UnixStream, UnixStream>> UnixStream::pair() {
    auto fds = Kernel::of_this_thread().open_pair();
    if (!fds) return fds.error();
    return std::pair(UnixStream(std::move(fds->first)), UnixStream(std::move(fds->second)));
}

Result<PeerCredentials> UnixStream::peer_credentials() const {
    auto who = socket().ask(&Kernel::peer_credentials);
    if (!who) return who.error();
    return PeerCredentials{.pid = who->pid, .uid = who->uid, .gid = who->gid};
}

// ---- connect ------------------------------------------------------------------------------------

namespace {

Result<UniqueFd> open_unix_socket(const Endpoint& peer) {
    if (!peer.is_unix()) return std::errc::address_family_not_supported;
    return Kernel::of_this_thread().open_socket(AF_UNIX, SOCK_STREAM);
}

} // namespace

UnixConnectAwaiter UnixStream::connect(const Endpoint& peer) { return UnixConnectAwaiter(peer); }

UnixConnectAwaiter::UnixConnectAwaiter(const Endpoint& peer)
    : ConnectingSocket(peer, open_unix_socket(peer)) {}

Result<UnixStream> UnixConnectAwaiter::await_resume() {
    auto socket = take_socket();
    if (!socket) return socket.error();
    return UnixStream(std::move(*socket));
}

// ---- descriptors --------------------------------------------------------------------------------

SendDescriptorsAwaiter UnixStream::send_descriptors(std::span<const std::byte> bytes,
                                                    std::span<const int> descriptors) {
    return {socket(), bytes, descriptors};
}

SendDescriptorsAwaiter::SendDescriptorsAwaiter(Socket& socket, std::span<const std::byte> bytes,
                                               std::span<const int> descriptors)
    : WholeAwaiter(socket, socket.outbound),
      bytes_{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()},
      descriptors_(descriptors) {
    RINGLET_ASSERT(!bytes.empty(),
                   "descriptors travel with bytes: send one at least (unix(7), SCM_RIGHTS)");
    socket.configure(socket.outbound, Opcode::send_message, nullptr, bytes.size(),
                     Operation::Extent::whole);
}

// The descriptors go with the first byte. If the kernel takes only some of the bytes, the rest goes without them.
bool SendDescriptorsAwaiter::suspend_for(CancelScope& scope, std::coroutine_handle<> waiter) {
    const std::size_t size = descriptors_.size_bytes();
    operation_->data = &message_;
    message_.set_pieces(&bytes_, 1);
    if (descriptors_.size() > UnixStream::descriptors_limit) {
        operation_->size_bytes = 0; // nothing is sent
        return suspend(scope, waiter);
    }
    if (!descriptors_.empty()) {
        message_.header.msg_control = control_.bytes.data();
        message_.header.msg_controllen = CMSG_SPACE(size);
        cmsghdr* control = CMSG_FIRSTHDR(&message_.header);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(size);
        std::memcpy(CMSG_DATA(control), descriptors_.data(), size);
    }
    return suspend(scope, waiter);
}

Result<void> SendDescriptorsAwaiter::await_resume() {
    auto sent = WholeAwaiter::await_resume();
    if (sent && descriptors_.size() > UnixStream::descriptors_limit)
        return std::errc::argument_list_too_long;
    return sent;
}

RecvDescriptorsAwaiter UnixStream::recv_descriptors(std::span<std::byte> memory) {
    return {socket(), memory};
}

RecvDescriptorsAwaiter::RecvDescriptorsAwaiter(Socket& socket, std::span<std::byte> memory)
    : SocketAwaiter(socket, socket.inbound),
      memory_{.iov_base = memory.data(), .iov_len = memory.size()} {
    RINGLET_ASSERT(!memory.empty(),
                   "recv into no memory: 0 bytes would look like the end of stream");
    socket.configure(socket.inbound, Opcode::recv_message, nullptr, memory.size());
}

bool RecvDescriptorsAwaiter::suspend_for(CancelScope& scope, std::coroutine_handle<> waiter) {
    operation_->data = &message_;
    message_.set_pieces(&memory_, 1);
    message_.header.msg_control = control_.bytes.data();
    message_.header.msg_controllen = control_.bytes.size();
    return suspend(scope, waiter);
}

Result<ReceivedDescriptors> RecvDescriptorsAwaiter::await_resume() {
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    ReceivedDescriptors received{.size_bytes = static_cast<std::size_t>(answer), .descriptors = {}};
    msghdr& header = message_.header;
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
         control = CMSG_NXTHDR(&header, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
        std::array<int, UnixStream::descriptors_limit> fds{};
        const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        std::memcpy(fds.data(), CMSG_DATA(control), count * sizeof(int));
        std::array<UniqueFd, UnixStream::descriptors_limit> owned; // before what may throw
        for (std::size_t i = 0; i < count; ++i) owned[i] = UniqueFd(fds[i]);
        for (std::size_t i = 0; i < count; ++i) received.descriptors.push_back(std::move(owned[i]));
    }
    // This process's descriptor table had no room for all of them.
    if ((header.msg_flags & MSG_CTRUNC) != 0) return std::errc::too_many_files_open;
    return received;
}

} // namespace ringlet
