#include <ringlet/endpoint.hpp>

#include <ringlet/error.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
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

// HOST:PORT or [HOST]:PORT. An IPv6 address needs the brackets: the last of its own colons could be the port's.
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

// Reads the zone of fe80::1%eth0, which follows the percent sign: a name or a number.
Result<std::uint32_t> zone_of(const std::string& name) {
    std::uint32_t number = 0;
    const char* end = name.data() + name.size();
    const auto [rest, failure] = std::from_chars(name.data(), end, number);
    if (failure == std::errc{} && rest == end) return number;
    number = ::if_nametoindex(name.c_str());
    if (number == 0) return std::errc::no_such_device;
    return number;
}

Result<std::vector<Endpoint>> look_up(const std::string& host, std::uint16_t port) {
    if (host.find('\0') != std::string::npos) return Errc::unknown_host;
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return Errc::unknown_host;
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);

    std::vector<Endpoint> endpoints;
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
        if (one->ai_family != AF_INET && one->ai_family != AF_INET6) continue;
        sockaddr_storage address{};
        std::memcpy(&address, one->ai_addr, one->ai_addrlen);
        Endpoint endpoint = Endpoint::from_sockaddr(address, one->ai_addrlen);
        endpoint.set_port(port);
        if (std::find(endpoints.begin(), endpoints.end(), endpoint) == endpoints.end()) {
            endpoints.push_back(endpoint);
        }
    }
    if (endpoints.empty()) return Errc::unknown_host;
    return endpoints;
}

constexpr std::string_view unix_prefix = "unix:";
constexpr std::size_t unix_name_offset = offsetof(sockaddr_un, sun_path);

} // namespace

Endpoint::Endpoint() noexcept {
    std::memset(&address_, 0, sizeof address_);
    address_.v4.sin_family = AF_INET;
}

// A path ends with a NUL, which is counted (unix(7)); an abstract name begins with one and needs none at its end.
Result<Endpoint> Endpoint::parse_unix(std::string_view name) {
    const bool is_abstract = name.starts_with('@');
    if (is_abstract) name.remove_prefix(1);
    if (name.empty() || name.find('\0') != std::string_view::npos) return Errc::invalid_endpoint;
    Endpoint endpoint;
    std::memset(&endpoint.address_, 0, sizeof endpoint.address_);
    sockaddr_un& address = endpoint.address_.local;
    if (name.size() + 1 > sizeof address.sun_path) return std::errc::filename_too_long;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + (is_abstract ? 1 : 0), name.data(), name.size());
    endpoint.size_bytes_ = static_cast<socklen_t>(unix_name_offset + name.size() + 1);
    return endpoint;
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
    if (text.starts_with(unix_prefix)) return parse_unix(text.substr(unix_prefix.size()));
    auto parts = split(text);
    if (!parts) return parts.error();

    Endpoint endpoint;
    if (::inet_pton(AF_INET, parts->host.c_str(), &endpoint.address_.v4.sin_addr) != 1) {
        std::memset(&endpoint.address_, 0, sizeof endpoint.address_);
        sockaddr_in6& address = endpoint.address_.v6;
        address.sin6_family = AF_INET6;
        endpoint.size_bytes_ = sizeof address;
        const auto percent = parts->host.find('%');
        if (::inet_pton(AF_INET6, parts->host.substr(0, percent).c_str(), &address.sin6_addr) !=
            1) {
            return Errc::invalid_endpoint;
        }
        if (percent != std::string::npos) {
            if (percent + 1 == parts->host.size()) return Errc::invalid_endpoint;
            auto zone = zone_of(parts->host.substr(percent + 1));
            if (!zone) return zone.error();
            address.sin6_scope_id = *zone;
        }
    }
    endpoint.set_port(parts->port);
    return endpoint;
}

Result<Endpoint> Endpoint::resolve(std::string_view host, std::uint16_t port) {
    auto endpoints = look_up(std::string(host), port);
    if (!endpoints) return endpoints.error();
    return endpoints->front();
}

Result<Endpoint> Endpoint::resolve(std::string_view host_and_port) {
    auto endpoints = resolve_all(host_and_port);
    if (!endpoints) return endpoints.error();
    return endpoints->front();
}

Result<std::vector<Endpoint>> Endpoint::resolve_all(std::string_view host_and_port) {
    if (host_and_port.starts_with(unix_prefix)) {
        auto endpoint = parse(host_and_port);
        if (!endpoint) return endpoint.error();
        return std::vector<Endpoint>{*endpoint};
    }
    auto parts = split(host_and_port);
    if (!parts) return parts.error();
    return look_up(parts->host, parts->port);
}

Endpoint Endpoint::from_sockaddr(const sockaddr_storage& address, std::size_t size_bytes) noexcept {
    Endpoint endpoint;
    std::memset(&endpoint.address_, 0, sizeof endpoint.address_);
    std::memcpy(&endpoint.address_, &address,
                std::min({size_bytes, sizeof endpoint.address_, sizeof address}));
    if (endpoint.is_unix()) {
        std::size_t end = std::clamp(size_bytes, unix_name_offset, sizeof(sockaddr_un));
        const char* name = endpoint.address_.local.sun_path;
        while (end > unix_name_offset && name[end - unix_name_offset - 1] == '\0') --end;
        const bool is_path = end > unix_name_offset && *name != '\0';
        endpoint.size_bytes_ = static_cast<socklen_t>(end + (is_path ? 1 : 0));
    } else if (endpoint.is_v6()) {
        endpoint.size_bytes_ = sizeof(sockaddr_in6);
    }
    return endpoint;
}

// The port is at the same offset in both kinds of address.
std::uint16_t Endpoint::port() const noexcept {
    if (is_unix()) return 0;
    return ntohs(is_v6() ? address_.v6.sin6_port : address_.v4.sin_port);
}

void Endpoint::set_port(std::uint16_t port) noexcept {
    if (is_unix()) return;
    (is_v6() ? address_.v6.sin6_port : address_.v4.sin_port) = htons(port);
}

// Includes the leading NUL of an abstract name, but not the trailing NUL of a path.
std::string_view Endpoint::unix_name() const noexcept {
    if (!is_unix() || size_bytes_ <= unix_name_offset) return {};
    const char* name = address_.local.sun_path;
    const std::size_t size = size_bytes_ - unix_name_offset;
    return {name, *name == '\0' ? size : size - 1};
}

std::string_view Endpoint::path() const noexcept {
    const std::string_view name = unix_name();
    return name.starts_with('\0') ? std::string_view() : name;
}

std::string Endpoint::to_string() const {
    // Piece by piece: at -O3 g++ 12 takes `"[" + std::string` for an overlapping copy (-Wrestrict).
    std::string whole;
    if (is_unix()) {
        whole += unix_prefix;
        whole += unix_name();
        if (whole.size() > unix_prefix.size() && whole[unix_prefix.size()] == '\0') {
            whole[unix_prefix.size()] = '@';
        }
        return whole;
    }
    char text[INET6_ADDRSTRLEN] = "";
    const void* number = is_v6() ? static_cast<const void*>(&address_.v6.sin6_addr)
                                 : static_cast<const void*>(&address_.v4.sin_addr);
    ::inet_ntop(family(), number, text, sizeof text);
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
    if (left.is_unix()) return left.unix_name() == right.unix_name();
    if (!left.is_v6()) {
        return left.address_.v4.sin_addr.s_addr == right.address_.v4.sin_addr.s_addr;
    }
    return left.address_.v6.sin6_scope_id == right.address_.v6.sin6_scope_id &&
           std::memcmp(&left.address_.v6.sin6_addr, &right.address_.v6.sin6_addr,
                       sizeof(in6_addr)) == 0;
}

} // namespace ringlet
