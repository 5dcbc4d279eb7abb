#include <ringlet/unix_listener.hpp>

#include <ringlet/error.hpp>

namespace ringlet {

Result<UnixListener> UnixListener::bind(const Endpoint& endpoint, const ListenOptions& options) {
    if (!endpoint.is_unix()) return std::errc::address_family_not_supported;
    auto listener = StreamListener::bind(endpoint, options);
    if (!listener) return listener.error();
    return UnixListener(std::move(*listener));
}

} // namespace ringlet
