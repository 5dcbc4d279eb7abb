#include <ringlet/endpoint.hpp>

#include <ringlet/error.hpp>

#include <charconv>
#include <cstring>
#include <memory>

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>

namespace ringlet {

namespace {

struct HostAndPort {
    std::string host;
    std::uint16_t port = 0;
};

// HOST:PORT or [HOST]:PORT. An IPv6 address needs the brackets: which colon would be the last?
Result<HostAndPort> split(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return Errc::invalid_endpoint;

    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return Errc::invalid_endpoint;
    }
    HostAndPort parts{.host = std::string(host)};
    const char* end = std::to_address(digits.end());
    const auto [rest, failure] = std::from_chars(std::to_address(digits.begin()), end, parts.port);
    if (failure != std::errc{} || rest != end || host.empty()) return Errc::invalid_endpoint;
    if (host.find('\0') != std::string_view::npos) return Errc::invalid_endpoint;
    return parts;
}

} // namespace

Endpoint::Endpoint() noexcept {
    std::memset(&address_, 0, sizeof address_);
    address_.v4.sin_family = AF_INET;
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
    auto parts = split(text);
    if (!parts) return parts.error();

    Endpoint endpoint;
    if (::inet_pton(AF_INET, parts->host.c_str(), &endpoint.address_.v4.sin_addr) != 1) {
        std::memset(&endpoint.address_, 0, sizeof endpoint.address_);
        endpoint.address_.v6.sin6_family = AF_INET6;
        if (::inet_pton(AF_INET6, parts->host.c_str(), &endpoint.address_.v6.sin6_addr) != 1) {
            return Errc::invalid_endpoint;
        }
    }
    endpoint.set_port(parts->port);
    return endpoint;
}

Result<Endpoint> Endpoint::resolve(std::string_view host, std::uint16_t port) {
    if (host.find('\0') != std::string_view::npos) return Errc::unknown_host;
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(std::string(host).c_str(), nullptr, &hints, &found) != 0) {
        return Errc::unknown_host;
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);

    sockaddr_storage address{};
    std::memcpy(&address, found->ai_addr, found->ai_addrlen);
    Endpoint endpoint = from_sockaddr(address);
    endpoint.set_port(port);
    return endpoint;
}

Result<Endpoint> Endpoint::resolve(std::string_view host_and_port) {
    auto parts = split(host_and_port);
    if (!parts) return parts.error();
    return resolve(parts->host, parts->port);
}

Endpoint Endpoint::from_sockaddr(const sockaddr_storage& address) noexcept {
    Endpoint endpoint;
    std::memcpy(&endpoint.address_, &address, sizeof endpoint.address_);
    return endpoint;
}

// The port stands at the same place in both kinds of address.
std::uint16_t Endpoint::port() const noexcept {
    return ntohs(is_v6() ? address_.v6.sin6_port : address_.v4.sin_port);
}

void Endpoint::set_port(std::uint16_t port) noexcept {
    (is_v6() ? address_.v6.sin6_port : address_.v4.sin_port) = htons(port);
}

std::string Endpoint::to_string() const {
    char text[INET6_ADDRSTRLEN] = "";
    const void* number = is_v6() ? static_cast<const void*>(&address_.v6.sin6_addr)
                                 : static_cast<const void*>(&address_.v4.sin_addr);
    ::inet_ntop(family(), number, text, sizeof text);
    // Piece by piece: at -O3 g++ 12 takes `"[" + std::string` for an overlapping copy (-Wrestrict).
    std::string whole;
    if (is_v6()) whole += '[';
    whole += text;
    if (is_v6() &&
        address_.v6.sin6_scope_id != 0) { // which interface an address such as fe80::1 belongs to
        char interface[IF_NAMESIZE] = "";
        ::if_indextoname(address_.v6.sin6_scope_id, interface);
        whole += '%';
        whole += *interface != '\0' ? interface : std::to_string(address_.v6.sin6_scope_id);
    }
    if (is_v6()) whole += ']';
    whole += ':';
    whole += std::to_string(port());
    return whole;
}

bool operator==(const Endpoint& left, const Endpoint& right) noexcept {
    if (left.family() != right.family() || left.port() != right.port()) return false;
    if (!left.is_v6()) {
        return left.address_.v4.sin_addr.s_addr == right.address_.v4.sin_addr.s_addr;
    }
    return std::memcmp(&left.address_.v6.sin6_addr, &right.address_.v6.sin6_addr,
                       sizeof(in6_addr)) == 0;
}

} // namespace ringlet
