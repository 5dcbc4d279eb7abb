#include "serve/connection_channel.hpp"

#include <ringlet/error.hpp>
#include <ringlet/hand_over.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>

#include <sys/socket.h>

namespace ringlet {

namespace {

constexpr std::size_t peer_limit = 256; // of an address as text

// The descriptor that came with a message. There is one, unless other code has written to the channel.
UniqueFd descriptor_of(msghdr& message) {
    UniqueFd fd;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
         head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        int number = -1;
        std::memcpy(&number, CMSG_DATA(head), sizeof number);
        fd = UniqueFd(number);
    }
    return fd;
}

} // namespace

Result<std::pair<UniqueFd, UniqueFd>> make_connection_channel() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return error_from_errno(errno);
    return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<void> send_connection(int channel, int connection, const HandedOver& along) {
    std::string bytes = along.peer + "\n" + along.state;
    iovec text{.iov_base = bytes.data(), .iov_len = bytes.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof connection)> control{};
    msghdr message{};
    message.msg_iov = &text;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof connection);
    std::memcpy(CMSG_DATA(head), &connection, sizeof connection);
    for (;;) {
        if (::sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
        if (errno != EINTR) return error_from_errno(errno);
    }
}

// Peeks first: if the process has no free descriptor, the connection would be lost with its message.
Result<std::optional<MovedConnection>> receive_connection(int channel) {
    std::array<char, peer_limit + 1 + hand_over_state_limit> bytes;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control;
    iovec into{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t size = 0;
    do {
        size = ::recvmsg(channel, &message, MSG_PEEK | MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size < 0) return error_from_errno(errno);
    if (size == 0) return std::optional<MovedConnection>();
    UniqueFd fd = descriptor_of(message);
    if (!fd && (message.msg_flags & MSG_CTRUNC) != 0) return std::errc::too_many_files_open;

    // Removes this message only. Its descriptor is closed; the duplicate from the peek remains.
    char first = 0;
    while (::recv(channel, &first, 1, MSG_DONTWAIT) < 0 && errno == EINTR) {
    }
    const std::string_view text(bytes.data(), static_cast<std::size_t>(size));
    const std::size_t end = text.find('\n');
    if (!fd || end == std::string_view::npos) return std::errc::protocol_error;
    HandedOver along{.peer = std::string(text.substr(0, end)),
                     .state = std::string(text.substr(end + 1))};
    return std::optional(MovedConnection{.fd = std::move(fd), .along = std::move(along)});
}

void end_receiving(int channel) noexcept { ::shutdown(channel, SHUT_RD); }

} // namespace ringlet
