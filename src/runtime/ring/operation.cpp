#include <ringlet/detail/operation.hpp>

#include <cerrno>

namespace ringlet {

const char* to_string(Opcode opcode) noexcept {
    switch (opcode) {
    case Opcode::accept: return "accept";
    case Opcode::connect: return "connect";
    case Opcode::poll: return "poll";
    case Opcode::recv_buffer:
    case Opcode::recv: return "recv";
    case Opcode::send: return "send";
    case Opcode::read:
    case Opcode::read_some:
    case Opcode::read_buffer: return "read";
    case Opcode::write: return "write";
    case Opcode::send_message: return "send of a message";
    case Opcode::recv_message: return "recv of a message";
    case Opcode::read_at: return "read of a file";
    case Opcode::write_at: return "write of a file";
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
    // A Unix socket says EAGAIN when its listener's backlog is full (connect(2)); that is an answer.
    const bool interrupted = answer == -EINTR || (answer == -EAGAIN && opcode != Opcode::connect);
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
