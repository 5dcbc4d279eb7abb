#include "simulation/simulated_network.hpp"

#include <ringlet/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace ringlet::testing {

namespace {

using std::chrono::microseconds;

// A kernel keeps so much for a peer that does not answer, and then lets the sender wait.
constexpr std::size_t unheard_limit_bytes = 256'000;

std::error_code error_of(int number) { return error_from_errno(number); }

bool is_any_address(const Endpoint& endpoint) {
    if (endpoint.is_v6()) {
        sockaddr_in6 address{};
        std::memcpy(&address, endpoint.data(), sizeof address);
        return IN6_IS_ADDR_UNSPECIFIED(&address.sin6_addr);
    }
    sockaddr_in address{};
    std::memcpy(&address, endpoint.data(), sizeof address);
    return address.sin_addr.s_addr == INADDR_ANY;
}

Endpoint any_of(int family) {
    return Endpoint::parse(family == AF_INET6 ? "[::]:0" : "0.0.0.0:0").value();
}

Endpoint loopback_of(int family) {
    return Endpoint::parse(family == AF_INET6 ? "[::1]:0" : "127.0.0.1:0").value();
}

} // namespace

// ---- descriptors --------------------------------------------------------------------------------

SimulatedNetwork::SocketPtr SimulatedNetwork::find(int fd) const noexcept {
    const auto index = static_cast<std::size_t>(fd - first_simulated_descriptor);
    return is_simulated(fd) && index < descriptors_.size() ? descriptors_[index] : nullptr;
}

// The lowest that is free, as the real kernel does: so that whoever uses a descriptor after its end
// meets somebody else.
int SimulatedNetwork::give_descriptor(SocketPtr socket) {
    auto free = std::find(descriptors_.begin(), descriptors_.end(), nullptr);
    if (free == descriptors_.end()) free = descriptors_.insert(free, nullptr);
    *free = std::move(socket);
    ++open_count_;
    return first_simulated_descriptor + static_cast<int>(free - descriptors_.begin());
}

Result<int> SimulatedNetwork::open(int family) {
    if (family != AF_INET && family != AF_INET6) return error_of(EAFNOSUPPORT);
    if (has_begun_) {
        if (const int error = exhausted_by_a_fault()) return error_of(error);
    }
    auto socket = std::make_shared<Socket>();
    socket->family = family;
    socket->local = any_of(family);
    return give_descriptor(std::move(socket));
}

Result<std::pair<int, int>> SimulatedNetwork::open_pair() {
    auto one = std::make_shared<Socket>();
    auto other = std::make_shared<Socket>();
    one->family = other->family = AF_INET;
    one->local = other->local = loopback_of(AF_INET);
    one->local.set_port(free_port());
    other->local.set_port(free_port());
    join(one, other);
    const int first = give_descriptor(std::move(one));
    return std::pair(first, give_descriptor(std::move(other)));
}

void SimulatedNetwork::close(int fd) {
    const SocketPtr socket = find(fd);
    if (!socket) return;
    descriptors_[static_cast<std::size_t>(fd - first_simulated_descriptor)] = nullptr;
    --open_count_;
    for (const SocketPtr& client : socket->pending) break_off(*client, ECONNRESET);
    hang_up(*socket);
}

// ---- names --------------------------------------------------------------------------------------

bool SimulatedNetwork::is_taken(const Endpoint& endpoint) const {
    return std::ranges::any_of(descriptors_, [&](const SocketPtr& socket) {
        return socket && socket->kind != Socket::Kind::connected &&
               socket->family == endpoint.family() && socket->local.port() == endpoint.port() &&
               (socket->local == endpoint || is_any_address(socket->local) ||
                is_any_address(endpoint));
    });
}

std::uint16_t SimulatedNetwork::free_port() {
    constexpr std::uint16_t first = 32'768;
    constexpr std::uint16_t last = 60'999;
    const auto is_in_use = [this](const SocketPtr& socket) {
        return socket && socket->local.port() == next_port_;
    };
    for (int tries = first; tries <= last; ++tries) {
        next_port_ = next_port_ == last ? first : static_cast<std::uint16_t>(next_port_ + 1);
        if (std::ranges::none_of(descriptors_, is_in_use)) break;
    }
    return next_port_;
}

Result<void> SimulatedNetwork::bind(int fd, const Endpoint& endpoint) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    if (socket->local.port() != 0) return error_of(EINVAL);
    if (socket->family != endpoint.family()) {
        return error_of(endpoint.is_v6() ? EAFNOSUPPORT : EINVAL);
    }
    Endpoint chosen = endpoint;
    if (endpoint.port() == 0) {
        chosen.set_port(free_port());
    } else if (is_taken(endpoint)) {
        return error_of(EADDRINUSE);
    }
    socket->local = chosen;
    return {};
}

Result<void> SimulatedNetwork::listen(int fd, int backlog) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    if (socket->kind == Socket::Kind::connecting || socket->kind == Socket::Kind::connected) {
        return error_of(EINVAL);
    }
    if (socket->local.port() == 0) socket->local.set_port(free_port());
    socket->kind = Socket::Kind::listening;
    socket->backlog = static_cast<std::size_t>(std::max(backlog, 1));
    return {};
}

Result<Endpoint> SimulatedNetwork::local(int fd) const {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    return socket->local;
}

Result<Endpoint> SimulatedNetwork::peer(int fd) const {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    if (socket->kind != Socket::Kind::connected || socket->is_over()) return error_of(ENOTCONN);
    return socket->peer_name;
}

SimulatedNetwork::SocketPtr SimulatedNetwork::listener_at(const Endpoint& endpoint) const {
    for (const SocketPtr& socket : descriptors_) {
        if (!socket || socket->kind != Socket::Kind::listening) continue;
        const bool matches = socket->local == endpoint || (is_any_address(socket->local) &&
                                                           socket->family == endpoint.family() &&
                                                           socket->local.port() == endpoint.port());
        if (matches) return socket;
    }
    return nullptr;
}

// ---- operations ---------------------------------------------------------------------------------

std::optional<std::int32_t> SimulatedNetwork::attempt(Operation& operation) {
    has_begun_ = true;
    const SocketPtr socket = find(operation.fd());
    if (!socket) return -EBADF;
    std::optional<std::int32_t> answer;
    bool outbound = false;
    if (operation.opcode != Opcode::connect && plan_.strikes(Fault::interrupted)) {
        answer = plan_.below(2) == 0 ? -EINTR : -EAGAIN;
    }
    switch (operation.opcode) {
    case Opcode::accept:
        if (!answer) answer = accept(*socket);
        break;
    case Opcode::recv_buffer:
    case Opcode::recv:
        if (!answer) answer = recv(*socket, operation);
        break;
    case Opcode::connect:
        outbound = true;
        answer = connect(*socket, operation);
        break;
    case Opcode::send:
        outbound = true;
        if (!answer) answer = send(*socket, operation);
        break;
    case Opcode::read:
    case Opcode::send_zero_copy: return -EINVAL;
    }
    (outbound ? socket->outbound : socket->inbound) = answer ? nullptr : &operation;
    return answer;
}

void SimulatedNetwork::withdraw(const Operation& operation) {
    const SocketPtr socket = find(operation.fd());
    if (!socket) return;
    if (socket->inbound == &operation) socket->inbound = nullptr;
    if (socket->outbound == &operation) socket->outbound = nullptr;
}

bool SimulatedNetwork::is_waited_on(int fd) const {
    const SocketPtr socket = find(fd);
    return socket && (socket->inbound != nullptr || socket->outbound != nullptr);
}

std::vector<Operation*> SimulatedNetwork::waiting() const {
    std::vector<Operation*> found;
    for (const SocketPtr& socket : descriptors_) {
        if (!socket) continue;
        if (socket->inbound != nullptr) found.push_back(socket->inbound);
        if (socket->outbound != nullptr) found.push_back(socket->outbound);
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
    if (socket.local.port() == 0) {
        socket.local = loopback_of(socket.family);
        socket.local.set_port(free_port());
    }
    socket.kind = Socket::Kind::connecting;
    constexpr std::array<std::int64_t, 5> latencies_us = {0, 20, 100, 1000, 40'000};
    socket.latency = microseconds(latencies_us[plan_.below(latencies_us.size())]);
    schedule(find(operation.fd()), now_ + socket.latency);
    return std::nullopt;
}

std::optional<std::int32_t> SimulatedNetwork::recv(Socket& socket, Operation& operation) {
    if (socket.kind != Socket::Kind::connected) return -ENOTCONN;
    if (const int error = out_of_memory_by_a_fault()) return -error;
    if (!socket.is_over()) {
        if (plan_.strikes(Fault::connection_reset)) break_off(socket, ECONNRESET);
        if (plan_.strikes(Fault::timed_out)) break_off(socket, ETIMEDOUT);
        if (plan_.strikes(Fault::early_end)) end_early(socket);
    }
    std::size_t size = std::min(socket.arrived.size() - socket.taken_bytes, operation.rest_bytes());
    if (size == 0) {
        if (socket.error != 0) return -std::exchange(socket.error, 0);
        if (socket.ended) return 0;
        return std::nullopt;
    }
    if (size > 1 && plan_.strikes(Fault::short_recv)) size = 1 + plan_.below(size - 1);
    std::memcpy(operation.rest(), socket.arrived.data() + socket.taken_bytes, size);
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

std::optional<std::int32_t> SimulatedNetwork::send(Socket& socket, Operation& operation) {
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
    std::size_t size = std::min(operation.rest_bytes(), room - std::min(used, room));
    if (size == 0) return std::nullopt;
    if (size > 1 && plan_.strikes(Fault::short_send)) size = 1 + plan_.below(size - 1);
    sent_bytes_ += size;
    if (peer) {
        peer->held_bytes += size;
        held_bytes_ += size;
        send_to(peer, {.moment = {}, .bytes = {operation.rest(), operation.rest() + size}});
    } else {
        // Nobody is there any more: the bytes are taken, and the answer is a reset.
        lost_bytes_ += size;
        socket.unheard_bytes += size;
        send_to(find(operation.fd()), {.moment = {}, .bytes = {}, .error = ECONNRESET});
    }
    return static_cast<std::int32_t>(size);
}

Result<void> SimulatedNetwork::shutdown_write(int fd) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_of(EBADF);
    if (socket->kind != Socket::Kind::connected || socket->is_over()) return error_of(ENOTCONN);
    if (!std::exchange(socket->closed, true)) {
        if (const SocketPtr peer = socket->peer.lock()) send_to(peer, {});
    }
    note_change(socket);
    return {};
}

} // namespace ringlet::testing
