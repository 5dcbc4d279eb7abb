#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <sys/un.h>

namespace RINGLET_EXPORT ringlet {

/// The address of a socket: an IPv4 or IPv6 address with a port, or a Unix socket's path or abstract name.
class Endpoint {
public:
    /// 0.0.0.0:0, which as a listening address means every interface and a free port.
    Endpoint() noexcept;

    /// Reads `127.0.0.1:3200`, `[::1]:3200`, `[fe80::1%eth0]:3200`, `unix:/run/echo.sock`, or `unix:@name` for a name
    /// in the abstract namespace (unix(7)). Looks nothing up.
    ///
    /// Errors    `invalid_endpoint`. `no_such_device` for an interface that does not exist. `filename_too_long` for a
    ///           path of more than 107 bytes.
    static Result<Endpoint> parse(std::string_view text);

    /// Finds the first address of a host by name or by number (getaddrinfo(3)).
    ///
    /// Thread    Any. Blocks the thread while it asks a name server: call it before the loop runs, and use
    ///           `ringlet::resolve` in a coroutine.
    /// Errors    `unknown_host`.
    static Result<Endpoint> resolve(std::string_view host, std::uint16_t port);

    /// As `parse`, but HOST may also be a name: `localhost:3200`. Blocks as `resolve` does.
    static Result<Endpoint> resolve(std::string_view host_and_port);

    /// All addresses of HOST:PORT, in the order in which to try them (getaddrinfo(3), RFC 6724). Blocks as
    /// `resolve` does.
    static Result<std::vector<Endpoint>> resolve_all(std::string_view host_and_port);

    /// Reads what the kernel wrote, as in getsockname(2). `size_bytes` is the size that the kernel gave; without it a
    /// Unix name ends at its last byte that is not 0.
    static Endpoint from_sockaddr(const sockaddr_storage& address,
                                  std::size_t size_bytes = sizeof(sockaddr_storage)) noexcept;

    /// AF_INET, AF_INET6 or AF_UNIX.
    [[nodiscard]] int family() const noexcept { return address_.v4.sin_family; }
    [[nodiscard]] bool is_v6() const noexcept { return family() == AF_INET6; }
    [[nodiscard]] bool is_unix() const noexcept { return family() == AF_UNIX; }
    /// 0 for a Unix socket.
    [[nodiscard]] std::uint16_t port() const noexcept;
    /// Does nothing for a Unix socket.
    void set_port(std::uint16_t port) noexcept;
    /// The path of a Unix socket; empty for an abstract name and for all other addresses.
    [[nodiscard]] std::string_view path() const noexcept;

    /// For system calls. Size in bytes.
    [[nodiscard]] const sockaddr* data() const noexcept {
        return reinterpret_cast<const sockaddr*>(&address_);
    }
    [[nodiscard]] socklen_t size_bytes() const noexcept { return size_bytes_; }

    /// `127.0.0.1:3200`, `[::1]:3200`, `unix:/run/echo.sock`: what `parse` reads. `unix:` for a socket without a name.
    [[nodiscard]] std::string to_string() const;

    /// The same address, port and zone, or the same name.
    friend bool operator==(const Endpoint& left, const Endpoint& right) noexcept;

private:
    static Result<Endpoint> parse_unix(std::string_view name);
    [[nodiscard]] std::string_view unix_name() const noexcept;

    union {
        sockaddr_in v4;
        sockaddr_in6 v6;
        sockaddr_un local;
    } address_;
    socklen_t size_bytes_ = sizeof(sockaddr_in);
};

} // namespace ringlet
