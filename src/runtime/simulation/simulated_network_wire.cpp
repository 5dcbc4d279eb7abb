// What happens between two sockets of the simulated network: connecting, bytes on their way, and the
// ways in which a connection ends.

#include "simulation/simulated_network.hpp"

#include <ringlet/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

namespace ringlet::testing {

namespace {

// A client that waits for room in a backlog tries again after a second, as TCP does.
constexpr std::chrono::seconds knock_again{1};
constexpr int knocks_limit = 6;

// How long a side without news from its peer keeps the connection (tcp(7), tcp_retries2).
constexpr std::chrono::minutes patience{15};

} // namespace

void SimulatedNetwork::join(const SocketPtr& one, const SocketPtr& other) {
    constexpr std::array<std::size_t, 4> rooms = {500, 4000, 64'000, 256'000};
    for (const auto& [socket, its_peer] : {std::pair(one, other), std::pair(other, one)}) {
        socket->kind = Socket::Kind::connected;
        socket->peer = its_peer;
        socket->peer_name = its_peer->local;
        socket->latency = one->latency;
        socket->room_bytes = rooms[plan_.below(rooms.size())];
    }
}

Result<std::size_t> SimulatedNetwork::send_now(int fd, std::span<const std::byte> bytes) {
    const SocketPtr socket = find(fd);
    if (!socket) return error_from_errno(EBADF);
    const std::int32_t sent = send(*socket, bytes).value_or(0);
    if (sent < 0) return error_from_errno(-sent);
    return static_cast<std::size_t>(sent);
}

void SimulatedNetwork::schedule(const SocketPtr& socket, Clock::time_point moment) {
    events_.push({.moment = moment, .order = event_count_++, .socket = socket});
}

// Delivers in the order of sending; the time on the way varies.
void SimulatedNetwork::send_to(const SocketPtr& socket, Arrival arrival, Clock::duration longer) {
    const auto varies = Clock::duration(static_cast<Clock::rep>(
        plan_.below(static_cast<std::uint64_t>(socket->latency.count() / 2) + 1)));
    arrival.moment = now_ + socket->latency + varies + longer;
    if (!socket->on_its_way.empty()) {
        arrival.moment = std::max(arrival.moment, socket->on_its_way.back().moment);
    }
    schedule(socket, arrival.moment);
    socket->on_its_way.push_back(std::move(arrival));
}

std::optional<Clock::time_point> SimulatedNetwork::next_event() const {
    std::optional<Clock::time_point> next;
    if (!events_.empty()) next = events_.top().moment;
    if (!datagrams_.empty()) {
        const Clock::time_point first = datagrams_.begin()->first;
        next = std::min(next.value_or(first), first);
    }
    return next;
}

void SimulatedNetwork::advance(Clock::time_point now) {
    now_ = now;
    while (!events_.empty() && events_.top().moment <= now_) {
        const SocketPtr socket = events_.top().socket.lock();
        events_.pop();
        if (!socket) continue;
        if (socket->kind == Socket::Kind::connecting) {
            knock(socket);
        } else {
            arrive(*socket);
        }
        note_change(socket);
    }
    while (!datagrams_.empty() && datagrams_.begin()->first <= now_) {
        deliver(std::move(datagrams_.extract(datagrams_.begin()).mapped()));
    }
}

void SimulatedNetwork::knock(const SocketPtr& client) {
    const auto refuse = [&](int error) {
        client->kind = Socket::Kind::fresh;
        client->connected = -error;
    };
    const SocketPtr listener = listener_at(client->peer_name);
    if (!listener || plan_.strikes(Fault::connection_refused)) return refuse(ECONNREFUSED);
    if (plan_.strikes(Fault::timed_out) || client->knocks++ == knocks_limit) {
        return refuse(ETIMEDOUT);
    }
    if (listener->pending.size() >= listener->backlog) {
        return schedule(client, now_ + knock_again);
    }
    auto server = std::make_shared<Socket>();
    server->family = client->family;
    server->local = client->peer_name;
    join(client, server);
    client->connected = 0;
    listener->pending.push_back(std::move(server));
    note_change(listener);
}

void SimulatedNetwork::arrive(Socket& socket) {
    // The one that was due may have been lost meanwhile.
    if (socket.on_its_way.empty() || socket.on_its_way.front().moment > now_) return;
    Arrival arrival = std::move(socket.on_its_way.front());
    socket.on_its_way.pop_front();
    if (arrival.error != 0) {
        break_off(socket, arrival.error);
    } else if (arrival.bytes.empty()) {
        socket.ended = true;
    } else {
        if (!arrival.descriptors.empty()) {
            const std::size_t unread_bytes = socket.arrived.size() - socket.taken_bytes;
            socket.passed.push_back({.before_bytes = socket.received_bytes + unread_bytes,
                                     .descriptors = std::move(arrival.descriptors)});
        }
        socket.arrived.insert(socket.arrived.end(), arrival.bytes.begin(), arrival.bytes.end());
    }
}

void SimulatedNetwork::lose_what_is_on_its_way(Socket& socket) {
    const auto on_its_way = std::exchange(socket.on_its_way, {}); // their descriptors close here
    for (const Arrival& arrival : on_its_way) {
        lost_bytes_ += arrival.bytes.size();
        held_bytes_ -= arrival.bytes.size();
        socket.held_bytes -= arrival.bytes.size();
    }
}

void SimulatedNetwork::lose_what_has_arrived(Socket& socket) {
    const std::size_t unread_bytes = socket.arrived.size() - socket.taken_bytes;
    lost_bytes_ += unread_bytes;
    held_bytes_ -= unread_bytes;
    socket.held_bytes -= unread_bytes;
    socket.arrived.clear();
    socket.taken_bytes = 0;
    std::exchange(socket.passed, {}).clear();
}

// From now on neither side receives from the other. Returns the other.
SimulatedNetwork::SocketPtr SimulatedNetwork::cut(Socket& socket) {
    const SocketPtr peer = socket.peer.lock();
    socket.peer.reset();
    if (peer) peer->peer.reset();
    note_change(socket.weak_from_this());
    note_change(peer);
    return peer;
}

// The owner closes it. Unread data makes that a reset (RFC 1122, 4.2.2.13).
void SimulatedNetwork::hang_up(Socket& socket) {
    const bool resets = socket.held_bytes > 0 || socket.resets;
    lose_what_is_on_its_way(socket);
    lose_what_has_arrived(socket);
    const SocketPtr peer = cut(socket);
    if (peer && peer->is_pipe) peer->closed = true; // what is written now is refused
    if (peer && resets && !peer->is_pipe) {
        send_to(peer, {.moment = {}, .bytes = {}, .error = ECONNRESET});
    } else if (peer && !socket.closed) {
        send_to(peer, {});
    }
}

// The connection ends, for this side now, for the other when the news arrives. Data that has arrived
// can still be read, as on Linux, or is lost, as elsewhere.
void SimulatedNetwork::break_off(Socket& socket, int error) {
    lose_what_is_on_its_way(socket);
    if (plan_.can_strike(Fault::connection_reset)) lose_what_has_arrived(socket);
    socket.error = error;
    socket.ended = socket.closed = true;
    const SocketPtr peer = cut(socket);
    if (!peer) return;
    const bool silent = error == ETIMEDOUT && plan_.below(2) == 0;
    send_to(peer, {.moment = {}, .bytes = {}, .error = silent ? ETIMEDOUT : ECONNRESET},
            silent ? Clock::duration(patience) : Clock::duration());
}

// A middlebox ends it, and neither side learns what was lost on the way.
void SimulatedNetwork::end_early(Socket& socket) {
    lose_what_is_on_its_way(socket);
    lose_what_has_arrived(socket);
    socket.ended = true;
    if (const SocketPtr peer = cut(socket)) send_to(peer, {});
}

} // namespace ringlet::testing
