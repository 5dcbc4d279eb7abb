#include "simulation/simulated_network.hpp"

#include <ringlet/detail/message.hpp>
#include <ringlet/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <poll.h>

namespace ringlet::testing {

namespace {

using std::chrono::microseconds;

// A kernel keeps so much for a peer that does not answer, and then lets the sender wait.
constexpr std::size_t unheard_limit_bytes = 256'000;

// No message in here has more than one place to receive into, nor carries descriptors.
std::span<std::byte> memory_of(const Operation& operation) {
    auto& message = *static_cast<Message*>(operation.data);
    message.skip(0);
    message.header.msg_controllen = 0;
    const iovec& place = *message.begin();
    return {static_cast<std::byte*>(place.iov_base), place.iov_len};
}

} // namespace

std::optional<std::int32_t> SimulatedNetwork::attempt(Operation& operation) {
    has_begun_ = true;
    const SocketPtr socket = find(operation.fd());
    if (!socket) return -EBADF;
    std::optional<std::int32_t> answer;
    if (operation.opcode == Opcode::poll) {
        answer = poll(*socket, operation);
        std::erase(socket->polls, &operation);
        if (!answer) socket->polls.push_back(&operation);
        return answer;
    }
    if (operation.opcode != Opcode::connect && plan_.strikes(Fault::interrupted)) {
        answer = plan_.below(2) == 0 ? -EINTR : -EAGAIN;
    }
    switch (operation.opcode) {
    case Opcode::accept:
        if (!answer) answer = accept(*socket);
        break;
    case Opcode::recv_buffer:
    case Opcode::recv:
        if (!answer) answer = recv(*socket, {operation.rest(), operation.rest_bytes()});
        break;
    case Opcode::recv_message:
        if (!answer) answer = recv(*socket, memory_of(operation));
        break;
    case Opcode::connect: answer = connect(*socket, operation); break;
    case Opcode::send:
        if (!answer) answer = send(*socket, operation, operation.rest(), operation.rest_bytes());
        break;
    case Opcode::send_message:
        if (!answer) answer = send_message(*socket, operation);
        break;
    default: return -EINVAL; // of what is no stream
    }
    (operation.is_outbound() ? socket->outbound : socket->inbound) = answer ? nullptr : &operation;
    return answer;
}

void SimulatedNetwork::withdraw(const Operation& operation) {
    const SocketPtr socket = find(operation.fd());
    if (!socket) return;
    if (socket->inbound == &operation) socket->inbound = nullptr;
    if (socket->outbound == &operation) socket->outbound = nullptr;
    std::erase(socket->polls, &operation);
}

bool SimulatedNetwork::is_waited_on(int fd) const {
    const SocketPtr socket = find(fd);
    return socket &&
           (socket->inbound != nullptr || socket->outbound != nullptr || !socket->polls.empty());
}

std::vector<Operation*> SimulatedNetwork::waiting() const {
    std::vector<Operation*> found;
    for (const SocketPtr& socket : descriptors_) {
        if (!socket) continue;
        if (socket->inbound != nullptr) found.push_back(socket->inbound);
        if (socket->outbound != nullptr) found.push_back(socket->outbound);
        found.insert(found.end(), socket->polls.begin(), socket->polls.end());
    }
    return found;
}

std::vector<Operation*> SimulatedNetwork::take_changed() {
    std::vector<Operation*> found;
    for (const std::weak_ptr<Socket>& noted : changed_) {
        const SocketPtr socket = noted.lock();
        if (!socket) continue;
        for (Operation** slot : {&socket->inbound, &socket->outbound}) {
            if (*slot != nullptr) found.push_back(std::exchange(*slot, nullptr));
        }
        found.insert(found.end(), socket->polls.begin(), socket->polls.end());
        socket->polls.clear();
    }
    changed_.clear();
    return found;
}

int SimulatedNetwork::exhausted_by_a_fault() {
    if (plan_.strikes(Fault::too_many_files)) return EMFILE;
    if (plan_.strikes(Fault::too_many_files_in_system)) return ENFILE;
    return 0;
}

int SimulatedNetwork::out_of_memory_by_a_fault() {
    if (plan_.strikes(Fault::no_buffer_space)) return ENOBUFS;
    if (plan_.strikes(Fault::no_memory)) return ENOMEM;
    return 0;
}

std::optional<std::int32_t> SimulatedNetwork::accept(Socket& socket) {
    if (socket.kind != Socket::Kind::listening) return -EINVAL;
    if (const int error = exhausted_by_a_fault()) return -error;
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (socket.pending.empty()) return std::nullopt;
    SocketPtr client = std::move(socket.pending.front());
    socket.pending.pop_front();
    if (plan_.strikes(Fault::connection_aborted)) {
        break_off(*client, ECONNABORTED);
        return -ECONNABORTED;
    }
    return give_descriptor(std::move(client));
}

std::optional<std::int32_t> SimulatedNetwork::connect(Socket& socket, const Operation& operation) {
    if (socket.kind == Socket::Kind::connected && !socket.connected) return -EISCONN;
    if (socket.connected) return std::exchange(socket.connected, std::nullopt);
    if (socket.kind == Socket::Kind::connecting) return std::nullopt;
    if (const int error = out_of_memory_by_a_fault()) return -error;

    sockaddr_storage address{};
    std::memcpy(&address, operation.data, std::min(operation.size_bytes, sizeof address));
    socket.peer_name = Endpoint::from_sockaddr(address);
    if (is_any_address(socket.peer_name)) {
        const std::uint16_t port = socket.peer_name.port();
        socket.peer_name = loopback_of(socket.family);
        socket.peer_name.set_port(port);
    }
    if (socket.local.port() == 0 && socket.family != AF_UNIX) {
        socket.local = loopback_of(socket.family);
        socket.local.set_port(free_port());
    }
    socket.kind = Socket::Kind::connecting;
    constexpr std::array<std::int64_t, 5> latencies_us = {0, 20, 100, 1000, 40'000};
    socket.latency = microseconds(latencies_us[plan_.below(latencies_us.size())]);
    schedule(find(operation.fd()), now_ + socket.latency);
    return std::nullopt;
}

std::optional<std::int32_t> SimulatedNetwork::recv(Socket& socket, std::span<std::byte> memory) {
    if (socket.kind != Socket::Kind::connected) return -ENOTCONN;
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (!socket.is_over()) {
        if (plan_.strikes(Fault::connection_reset)) break_off(socket, ECONNRESET);
        if (plan_.strikes(Fault::timed_out)) break_off(socket, ETIMEDOUT);
        if (plan_.strikes(Fault::early_end)) end_early(socket);
    }
    std::size_t size = std::min(socket.arrived.size() - socket.taken_bytes, memory.size());
    if (size == 0) {
        if (socket.error != 0) return -std::exchange(socket.error, 0);
        if (socket.ended) return 0;
        return std::nullopt;
    }
    if (size > 1 && plan_.strikes(Fault::short_recv)) size = 1 + plan_.below(size - 1);
    std::memcpy(memory.data(), socket.arrived.data() + socket.taken_bytes, size);
    socket.taken_bytes += size;
    if (socket.taken_bytes == socket.arrived.size()) {
        socket.arrived.clear();
        socket.taken_bytes = 0;
    }
    socket.held_bytes -= size;
    held_bytes_ -= size;
    received_bytes_ += size;
    note_change(socket.peer); // it has room again
    return static_cast<std::int32_t>(size);
}

std::optional<std::int32_t> SimulatedNetwork::send_message(Socket& socket,
                                                           const Operation& operation) {
    auto& message = *static_cast<Message*>(operation.data);
    message.skip(operation.transferred_bytes);
    if (message.header.msg_controllen > 0) return -EOPNOTSUPP; // descriptors are real
    std::vector<std::byte> bytes;
    for (const iovec& piece : message) {
        const auto* begin = static_cast<const std::byte*>(piece.iov_base);
        bytes.insert(bytes.end(), begin, begin + piece.iov_len);
    }
    return send(socket, operation, bytes.data(), bytes.size());
}

std::optional<std::int32_t> SimulatedNetwork::poll(const Socket& socket,
                                                   const Operation& operation) const {
    int ready = 0;
    if (!socket.pending.empty() || socket.ended || socket.taken_bytes < socket.arrived.size()) {
        ready |= POLLIN;
    }
    if (socket.error != 0) ready |= POLLIN | POLLOUT | POLLERR;
    if (socket.is_over()) ready |= POLLHUP;
    const SocketPtr peer = socket.peer.lock();
    const bool is_up = socket.kind == Socket::Kind::connected && !socket.connected;
    if (socket.closed || (is_up && (!peer || peer->held_bytes < peer->room_bytes)))
        ready |= POLLOUT;
    ready &= static_cast<int>(operation.size_bytes) | POLLERR | POLLHUP;
    if (ready == 0) return std::nullopt;
    return ready;
}

std::optional<std::int32_t> SimulatedNetwork::send(Socket& socket, const Operation& operation,
                                                   const std::byte* bytes, std::size_t size) {
    if (socket.kind != Socket::Kind::connected) return -ENOTCONN;
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (!socket.closed) {
        if (plan_.strikes(Fault::broken_pipe)) break_off(socket, EPIPE);
        if (plan_.strikes(Fault::connection_reset)) break_off(socket, ECONNRESET);
    }
    if (socket.error != 0) return -std::exchange(socket.error, 0);
    if (socket.closed) return -EPIPE;

    const SocketPtr peer = socket.peer.lock();
    const std::size_t room = peer ? peer->room_bytes : unheard_limit_bytes;
    const std::size_t used = peer ? peer->held_bytes : socket.unheard_bytes;
    size = std::min(size, room - std::min(used, room));
    if (size == 0) return std::nullopt;
    if (size > 1 && plan_.strikes(Fault::short_send)) size = 1 + plan_.below(size - 1);
    sent_bytes_ += size;
    if (peer) {
        peer->held_bytes += size;
        held_bytes_ += size;
        send_to(peer, {.moment = {}, .bytes = {bytes, bytes + size}});
    } else {
        // Nobody is there any more: the bytes are taken, and the answer is a reset.
        lost_bytes_ += size;
        socket.unheard_bytes += size;
        send_to(find(operation.fd()), {.moment = {}, .bytes = {}, .error = ECONNRESET});
    }
    return static_cast<std::int32_t>(size);
}

} // namespace ringlet::testing
