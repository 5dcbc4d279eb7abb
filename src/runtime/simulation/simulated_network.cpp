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

// A kernel buffers this much for a peer that does not answer; then the sender has to wait.
constexpr std::size_t unheard_limit_bytes = 256'000;

} // namespace

std::optional<std::int32_t> SimulatedNetwork::attempt(Operation& operation) {
    has_begun_ = true;
    const SocketPtr socket = find(operation.fd());
    if (!socket) return -EBADF;
    std::optional<std::int32_t> answer;
    if (operation.opcode == Opcode::poll) {
        answer = poll(*socket, operation);
    } else if (operation.opcode != Opcode::connect && plan_.strikes(Fault::interrupted)) {
        answer = plan_.below(2) == 0 ? -EINTR : -EAGAIN;
    }
    switch (operation.opcode) {
    case Opcode::poll: break;
    case Opcode::accept:
        if (!answer) answer = accept(*socket);
        break;
    case Opcode::recv_buffer:
    case Opcode::recv:
    case Opcode::read_buffer:
    case Opcode::read_some:
        if (!answer) answer = recv(*socket, {operation.rest(), operation.rest_bytes()});
        break;
    case Opcode::recv_message:
        if (!answer) answer = recv_message(*socket, operation);
        break;
    case Opcode::connect: answer = connect(*socket, operation); break;
    case Opcode::send:
    case Opcode::write:
        if (!answer) answer = send(*socket, {operation.rest(), operation.rest_bytes()});
        break;
    case Opcode::send_message:
        if (!answer) answer = send_message(*socket, operation);
        break;
    default: return -EINVAL; // for anything but a stream
    }
    std::erase(socket->waiting, &operation);
    if (!answer) socket->waiting.push_back(&operation);
    return answer;
}

void SimulatedNetwork::withdraw(const Operation& operation) {
    const SocketPtr socket = find(operation.fd());
    if (socket) std::erase(socket->waiting, &operation);
}

bool SimulatedNetwork::is_waited_on(int fd) const {
    const SocketPtr socket = find(fd);
    return socket && std::ranges::any_of(socket->waiting, [fd](const Operation* operation) {
               return operation->fd() == fd;
           });
}

std::vector<Operation*> SimulatedNetwork::waiting() const {
    std::vector<Operation*> found;
    for (const SocketPtr& socket : descriptors_) {
        if (!socket) continue;
        for (Operation* operation : socket->waiting) {
            // A socket may have several descriptors.
            if (std::ranges::find(found, operation) == found.end()) found.push_back(operation);
        }
    }
    return found;
}

std::vector<Operation*> SimulatedNetwork::take_changed() {
    std::vector<Operation*> found;
    for (const std::weak_ptr<Socket>& noted : changed_) {
        const SocketPtr socket = noted.lock();
        if (!socket) continue;
        found.insert(found.end(), socket->waiting.begin(), socket->waiting.end());
        socket->waiting.clear();
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
    socket.peer_name = seen_from_here(Endpoint::from_sockaddr(address));
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

std::optional<std::int32_t> SimulatedNetwork::recv(Socket& socket, std::span<std::byte> memory,
                                                   msghdr* message) {
    if (socket.kind != Socket::Kind::connected) return -ENOTCONN;
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (!socket.is_over() && !socket.is_pipe) {
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
    // Bytes that came with descriptors begin a new receive.
    for (const Passed& passed : socket.passed) {
        const std::uint64_t before = passed.before_bytes - socket.received_bytes;
        if (before > 0) size = std::min<std::size_t>(size, before);
    }
    hand_over(socket, message);
    std::memcpy(memory.data(), socket.arrived.data() + socket.taken_bytes, size);
    socket.taken_bytes += size;
    if (socket.taken_bytes == socket.arrived.size()) {
        socket.arrived.clear();
        socket.taken_bytes = 0;
    }
    socket.held_bytes -= size;
    held_bytes_ -= size;
    received_bytes_ += size;
    socket.received_bytes += size;
    note_change(socket.peer); // it has room again
    return static_cast<std::int32_t>(size);
}

std::optional<std::int32_t> SimulatedNetwork::poll(const Socket& socket,
                                                   const Operation& operation) const {
    int ready = 0;
    if (!socket.pending.empty() || socket.ended || socket.taken_bytes < socket.arrived.size() ||
        !socket.datagrams.empty()) {
        ready |= POLLIN;
    }
    if (socket.error != 0) ready |= POLLIN | POLLOUT | POLLERR;
    if (socket.is_over()) ready |= POLLHUP;
    const SocketPtr peer = socket.peer.lock();
    const bool is_up = socket.kind == Socket::Kind::datagrams ||
                       (socket.kind == Socket::Kind::connected && !socket.connected);
    if (socket.closed || (is_up && (!peer || peer->held_bytes < peer->room_bytes)))
        ready |= POLLOUT;
    ready &= static_cast<int>(operation.size_bytes) | POLLERR | POLLHUP;
    if (ready == 0) return std::nullopt;
    return ready;
}

std::optional<std::int32_t> SimulatedNetwork::send(Socket& socket, std::span<const std::byte> bytes,
                                                   const msghdr* message) {
    if (socket.kind != Socket::Kind::connected) return -ENOTCONN;
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (!socket.closed && !socket.is_pipe) {
        if (plan_.strikes(Fault::broken_pipe)) break_off(socket, EPIPE);
        if (plan_.strikes(Fault::connection_reset)) break_off(socket, ECONNRESET);
    }
    if (socket.error != 0) return -std::exchange(socket.error, 0);
    if (socket.closed) return -EPIPE;

    const SocketPtr peer = socket.peer.lock();
    const std::size_t room = peer ? peer->room_bytes : unheard_limit_bytes;
    const std::size_t used = peer ? peer->held_bytes : socket.unheard_bytes;
    std::size_t size = std::min(bytes.size(), room - std::min(used, room));
    if (size == 0) return std::nullopt;
    if (size > 1 && plan_.strikes(Fault::short_send)) size = 1 + plan_.below(size - 1);
    std::vector<UniqueFd> descriptors;
    if (message != nullptr && message->msg_controllen > 0) {
        auto duplicates = duplicate(*message);
        if (!duplicates) return -duplicates.error().value();
        descriptors = std::move(*duplicates);
    }
    sent_bytes_ += size;
    if (peer) {
        peer->held_bytes += size;
        held_bytes_ += size;
        send_to(peer, {.moment = {},
                       .bytes = {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)},
                       .descriptors = std::move(descriptors)});
    } else {
        // The peer is gone: the bytes are taken, and the answer is a reset.
        lost_bytes_ += size;
        socket.unheard_bytes += size;
        send_to(socket.shared_from_this(), {.moment = {}, .bytes = {}, .error = ECONNRESET});
    }
    return static_cast<std::int32_t>(size);
}

} // namespace ringlet::testing
