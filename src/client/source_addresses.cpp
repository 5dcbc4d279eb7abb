#include "source_addresses.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include <arpa/inet.h>

using namespace ringlet;

namespace {

// This many addresses have ports for 16 million connections.
constexpr std::uint64_t addresses_used_limit = 256;

// Away from the ports of servers, and, for as long as possible, from those that the kernel gives out.
constexpr std::uint64_t ports_begun_at = 10'000;

} // namespace

std::optional<SourceAddresses> SourceAddresses::parse(const std::string& cidr) {
    const auto slash = cidr.find('/');
    if (slash == std::string::npos) return std::nullopt;
    in_addr address{};
    if (::inet_pton(AF_INET, cidr.substr(0, slash).c_str(), &address) != 1) return std::nullopt;
    unsigned fixed_bits = 33;
    const char* end = cidr.data() + cidr.size();
    const auto [rest, failure] = std::from_chars(cidr.data() + slash + 1, end, fixed_bits);
    if (failure != std::errc{} || rest != end || fixed_bits > 32) return std::nullopt;

    const std::uint64_t size = std::uint64_t{1} << (32 - fixed_bits);
    SourceAddresses sources;
    sources.first_address_ = ntohl(address.s_addr) & ~static_cast<std::uint32_t>(size - 1);
    sources.address_count_ = size;
    if (size > 2) { // the first names the block, the last is for broadcasts
        sources.first_address_ += 1;
        sources.address_count_ -= 2;
    }
    sources.address_count_ = std::min(sources.address_count_, addresses_used_limit);
    return sources;
}

Endpoint SourceAddresses::at(std::uint64_t index) const {
    const std::uint64_t address = first_address_ + index % address_count_;
    const std::uint64_t nth_port = index / address_count_ + ports_begun_at - first_port;
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = htonl(static_cast<std::uint32_t>(address));
    source.sin_port = htons(static_cast<std::uint16_t>(first_port + nth_port % port_count));
    sockaddr_storage storage{};
    std::memcpy(&storage, &source, sizeof source);
    return Endpoint::from_sockaddr(storage);
}
