#pragma once

// Where many connections to one server come from. Each gets an address and a port of its own: when
// the kernel chooses the port, it searches longer for each one that is taken.

#include <ringlet/endpoint.hpp>

#include <cstdint>
#include <optional>
#include <string>

class SourceAddresses {
public:
    /// Reads a block of IPv4 addresses, such as 127.0.0.0/8; empty if it is not one.
    static std::optional<SourceAddresses> parse(const std::string& cidr);

    /// How many connections to one server can come from here at once.
    [[nodiscard]] std::uint64_t capacity() const { return address_count_ * port_count; }

    /// The source with this number, below `capacity`. Neighbours differ in their address.
    [[nodiscard]] ringlet::Endpoint at(std::uint64_t index) const;

private:
    static constexpr std::uint64_t first_port = 1024;
    static constexpr std::uint64_t port_count = 65'536 - first_port;

    std::uint32_t first_address_ = 0;
    std::uint64_t address_count_ = 0;
};
