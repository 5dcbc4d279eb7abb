#include <ringlet/unix_listener.hpp>

#include <ringlet/error.hpp>

namespace ringlet {

Result<UnixListener> UnixListener::bind(const Endpoint& endpoint, const ListenOptions& options) {
    if (!endpoint.is_unix()) return std::errc::address_family_not_supported;
    auto listener = StreamListener::bind(endpoint, options);
    if (!listener) return listener.error();
    return UnixListener(std::move(*listener));
}

Result<UnixListener> UnixListener::adopt(UniqueFd fd, bool owns_file) {
    auto listener = StreamListener::adopt(std::move(fd), owns_file);
    if (!listener) return listener.error();
    if (!listener->local().is_unix()) return std::errc::address_family_not_supported;
    return UnixListener(std::move(*listener));
}

} // namespace ringlet
