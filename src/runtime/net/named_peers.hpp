#pragma once

// The addresses set by `StreamSocket::set_peer`. Few sockets have one, so they are kept here, and other
// connections are not a byte larger. It promises that an entry is removed with its socket, on any thread.

#include <ringlet/endpoint.hpp>

#include <cstddef>
#include <mutex>
#include <unordered_map>

namespace ringlet {

class Socket;

class NamedPeers {
public:
    void name(const Socket& socket, const Endpoint& peer);
    /// The address of a socket that was named.
    [[nodiscard]] Endpoint of(const Socket& socket) const;
    void forget(const Socket& socket) noexcept;
    [[nodiscard]] std::size_t count() const;

private:
    mutable std::mutex mutex_;
    std::unordered_map<const Socket*, Endpoint> peers_;
};

/// The table of the process.
NamedPeers& named_peers();

} // namespace ringlet
