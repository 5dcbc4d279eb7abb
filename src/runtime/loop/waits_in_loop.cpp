// Members of operations and tasks that use their loop. Their classes are on lower floors, which only
// declare the loop; their other members are in ring/operation.cpp and task/task_record.cpp.

#include <ringlet/detail/loop_core.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/detail/task_record.hpp>
#include <ringlet/endpoint.hpp>

#include "base/kernel.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include <sys/socket.h>

namespace ringlet {

void Operation::cancel() noexcept {
    if (state == State::in_flight) scope->loop->cancel(*this, ECANCELED);
}

std::string Operation::describe() const {
    std::string text = to_string(opcode);
    text += descriptor.is_direct() ? " on direct descriptor " : " on descriptor ";
    text += std::to_string(descriptor.number());
    if (opcode == Opcode::connect) {
        sockaddr_storage target{};
        std::memcpy(&target, data, std::min(size_bytes, sizeof target));
        return text + ", to " + Endpoint::from_sockaddr(target).to_string();
    }
    LoopCore* loop = scope != nullptr ? scope->loop : nullptr;
    const auto peer_of = [](int fd) { return Kernel::of_this_thread().peer(fd); };
    const auto peer = with_fd(descriptor, loop, peer_of);
    if (!peer || (peer->family() != AF_INET && peer->family() != AF_INET6)) return text;
    return text + ", peer " + peer->to_string();
}

void TaskRecord::root_finished() noexcept { task_scope.loop->note_finished(*this); }

} // namespace ringlet
