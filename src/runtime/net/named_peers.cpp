#include "net/named_peers.hpp"

namespace ringlet {

void NamedPeers::name(const Socket& socket, const Endpoint& peer) {
    const std::lock_guard lock(mutex_);
    peers_.insert_or_assign(&socket, peer);
}

Endpoint NamedPeers::of(const Socket& socket) const {
    const std::lock_guard lock(mutex_);
    return peers_.at(&socket);
}

void NamedPeers::forget(const Socket& socket) noexcept {
    const std::lock_guard lock(mutex_);
    peers_.erase(&socket);
}

std::size_t NamedPeers::count() const {
    const std::lock_guard lock(mutex_);
    return peers_.size();
}

NamedPeers& named_peers() {
    // Never destroyed: a socket may outlive whatever is destroyed when the program exits.
    static auto& peers = *new NamedPeers;
    return peers;
}

} // namespace ringlet
