#include <ringlet/detail/operation.hpp>

#include <cerrno>

namespace ringlet {

const char* to_string(Opcode opcode) noexcept {
    switch (opcode) {
    case Opcode::accept: return "accept";
    case Opcode::connect: return "connect";
    case Opcode::recv_buffer:
    case Opcode::recv: return "recv";
    case Opcode::send: return "send";
    case Opcode::read: return "read";
    case Opcode::send_zero_copy: return "send without a copy";
    }
    return "?";
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
