#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <netinet/in.h>

namespace RINGLET_EXPORT ringlet {

/// An IPv4 or IPv6 address with a port.
class Endpoint {
public:
    /// 0.0.0.0:0, which as a listening address means every interface and a free port.
    Endpoint() noexcept;

    /// Reads `127.0.0.1:3200` or `[::1]:3200`. Numbers only: asks nobody.
    ///
    /// Errors    `invalid_endpoint`.
    static Result<Endpoint> parse(std::string_view text);

    /// Finds the first address of a host by name or by number (getaddrinfo(3)).
    ///
    /// Thread    Any. Blocks the thread while a name server is asked: call it before the loop runs.
    /// Errors    `unknown_host`.
    static Result<Endpoint> resolve(std::string_view host, std::uint16_t port);

    /// As `parse`, but HOST may also be a name: `localhost:3200`. Blocks as `resolve` does.
    static Result<Endpoint> resolve(std::string_view host_and_port);

    /// From what the kernel wrote, as in getsockname(2).
    static Endpoint from_sockaddr(const sockaddr_storage& address) noexcept;

    [[nodiscard]] int family() const noexcept { return address_.v4.sin_family; }
    [[nodiscard]] bool is_v6() const noexcept { return family() == AF_INET6; }
    [[nodiscard]] std::uint16_t port() const noexcept;
    void set_port(std::uint16_t port) noexcept;

    /// For system calls. Size in bytes.
    [[nodiscard]] const sockaddr* data() const noexcept {
        return reinterpret_cast<const sockaddr*>(&address_);
    }
    [[nodiscard]] socklen_t size_bytes() const noexcept {
        return is_v6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    }

    /// `127.0.0.1:3200` or `[::1]:3200`; what `parse` reads.
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const Endpoint& left, const Endpoint& right) noexcept;

private:
    union {
        sockaddr_in v4;
        sockaddr_in6 v6;
    } address_;
};

} // namespace ringlet
