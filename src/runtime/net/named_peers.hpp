#pragma once

// What `StreamSocket::set_peer` has said of sockets. Few have an entry, so that it is kept here, and a connection
// that nobody speaks for is not a byte larger. It promises that an entry goes with its socket, on whatever thread.

#include <ringlet/endpoint.hpp>

#include <cstddef>
#include <mutex>
#include <unordered_map>

namespace ringlet {

class Socket;

class NamedPeers {
public:
    void name(const Socket& socket, const Endpoint& peer);
    /// Of one that was named.
    [[nodiscard]] Endpoint of(const Socket& socket) const;
    void forget(const Socket& socket) noexcept;
    [[nodiscard]] std::size_t count() const;

private:
    mutable std::mutex mutex_;
    std::unordered_map<const Socket*, Endpoint> peers_;
};

/// Those of the process.
NamedPeers& named_peers();

} // namespace ringlet
