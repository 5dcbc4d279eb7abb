#include <ringlet/tcp_listener.hpp>

#include <ringlet/error.hpp>

namespace ringlet {

Result<TcpListener> TcpListener::bind(const Endpoint& endpoint, const ListenOptions& options) {
    if (endpoint.is_unix()) return std::errc::address_family_not_supported;
    auto listener = StreamListener::bind(endpoint, options);
    if (!listener) return listener.error();
    return TcpListener(std::move(*listener));
}

Result<std::vector<TcpListener>> TcpListener::bind_several(const Endpoint& endpoint,
                                                           std::size_t count,
                                                           const ListenOptions& options) {
    if (endpoint.is_unix()) return std::errc::address_family_not_supported;
    auto listeners = StreamListener::bind_several(endpoint, count, options);
    if (!listeners) return listeners.error();
    std::vector<TcpListener> typed;
    for (StreamListener& listener : *listeners) typed.push_back(TcpListener(std::move(listener)));
    return typed;
}

} // namespace ringlet
