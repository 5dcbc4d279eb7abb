#include <ringlet/operation.hpp>

#include <ringlet/endpoint.hpp>

#include "kernel.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace ringlet {

const char* to_string(Opcode opcode) noexcept {
    switch (opcode) {
    case Opcode::accept: return "accept";
    case Opcode::connect: return "connect";
    case Opcode::recv_buffer:
    case Opcode::recv: return "recv";
    case Opcode::send: return "send";
    case Opcode::read: return "read";
    }
    return "?";
}

std::string Operation::describe() const {
    std::string text = std::string(to_string(opcode)) + " on descriptor " + std::to_string(fd);
    if (opcode == Opcode::connect) {
        sockaddr_storage target{};
        std::memcpy(&target, data, std::min(size_bytes, sizeof target));
        return text + ", to " + Endpoint::from_sockaddr(target).to_string();
    }
    const auto peer = Kernel::of_this_thread().peer(fd);
    if (!peer || (peer->family() != AF_INET && peer->family() != AF_INET6)) return text;
    return text + ", peer " + peer->to_string();
}

void Operation::refuse() noexcept {
    result = -ECANCELED;
    state = State::finished;
}

bool Operation::finish_with_less(std::int32_t answer) noexcept {
    const bool short_transfer = answer > 0 && moves_bytes();
    const bool interrupted = answer == -EINTR || answer == -EAGAIN;
    if (short_transfer || interrupted) {
        if (!cancel_requested) return false;
        answer = -ECANCELED;
    }
    if (answer == -ECANCELED && cancel_errno != 0) answer = -cancel_errno;
    result = answer;
    state = State::finished;
    return true;
}

} // namespace ringlet
