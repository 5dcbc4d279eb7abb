#include "ring/epoll/attempt.hpp"

#include <ringlet/detail/message.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ringlet {

namespace {

// A pipe or a terminal may be shared with other programs: it is polled, not made non-blocking for all of them.
bool is_ready(int fd, short events, RingStats& stats) {
    pollfd asked{.fd = fd, .events = events, .revents = 0};
    ++stats.system_calls;
    const int count = ::poll(&asked, 1, 0);
    if (count == 0) errno = EAGAIN;
    return count > 0;
}

ssize_t exchange(const Operation& operation) {
    auto& message = *static_cast<Message*>(operation.data);
    message.skip(operation.transferred_bytes);
    if (operation.opcode == Opcode::recv_message) {
        return ::recvmsg(operation.fd(), &message.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    }
    return ::sendmsg(operation.fd(), &message.header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

} // namespace

ssize_t attempt_without_waiting(const Operation& operation, std::size_t& size_bytes,
                                RingStats& stats) {
    const int fd = operation.fd();
    ++stats.system_calls;
    switch (operation.opcode) {
    case Opcode::accept: return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
    case Opcode::recv_buffer:
    case Opcode::recv: return ::recv(fd, operation.rest(), size_bytes, MSG_DONTWAIT);
    case Opcode::send: return ::send(fd, operation.rest(), size_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    case Opcode::read: return ::read(fd, operation.rest(), size_bytes);
    case Opcode::read_some:
    case Opcode::read_buffer:
        if (!is_ready(fd, POLLIN, stats)) return -1;
        return ::read(fd, operation.rest(), size_bytes);
    case Opcode::write:
        if (!is_ready(fd, POLLOUT, stats)) return -1;
        size_bytes = std::min<std::size_t>(size_bytes, PIPE_BUF); // that much fits (pipe(7))
        return ::write(fd, operation.rest(), size_bytes);
    case Opcode::send_message:
    case Opcode::recv_message: return exchange(operation);
    case Opcode::read_at:
    case Opcode::write_at: // a file would keep the loop waiting: `File` uses another thread
        errno = EOPNOTSUPP;
        return -1;
    case Opcode::connect:        // answered by an event
    case Opcode::poll:           // the same
    case Opcode::send_zero_copy: // became a send
        break;
    }
    errno = EINVAL;
    return -1;
}

} // namespace ringlet
