#include <ringlet/address_range.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>

#include <arpa/inet.h>

namespace ringlet {

namespace {

using AddressBytes = std::array<std::uint8_t, 16>;

// RFC 4291, 2.5.5.2: how an IPv6 socket reports an IPv4 address.
constexpr std::array<std::uint8_t, 12> mapped_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr unsigned mapped_bits = 96;

bool is_mapped(const AddressBytes& bytes) noexcept {
    return std::equal(mapped_prefix.begin(), mapped_prefix.end(), bytes.begin());
}

AddressBytes unmapped(const AddressBytes& bytes) noexcept {
    AddressBytes v4{};
    std::copy(bytes.begin() + mapped_prefix.size(), bytes.end(), v4.begin());
    return v4;
}

bool bit_of(const AddressBytes& bytes, unsigned index) noexcept {
    return (bytes[index / 8] >> (7 - index % 8) & 1) != 0;
}

unsigned width_of(int family) noexcept { return family == AF_INET6 ? 128 : 32; }

// Accepts digits only: no sign, no space.
Result<unsigned> read_bit_count(std::string_view digits, unsigned limit) {
    unsigned number = 0;
    const char* end = std::to_address(digits.end());
    const auto [rest, failure] = std::from_chars(std::to_address(digits.begin()), end, number);
    if (failure != std::errc{} || rest != end || number > limit) return Errc::invalid_range;
    return number;
}

} // namespace

Result<AddressRange> AddressRange::parse(std::string_view text) {
    AddressRange range;
    if (text == "unix:") return range;
    const auto slash = text.find('/');
    const std::string number(text.substr(0, slash));
    if (number.find('\0') != std::string::npos) return Errc::invalid_range;
    range.family_ = number.find(':') == std::string::npos ? AF_INET : AF_INET6;
    if (::inet_pton(range.family_, number.c_str(), range.address_.data()) != 1)
        return Errc::invalid_range;
    unsigned bits = width_of(range.family_);
    if (slash != std::string_view::npos) {
        auto read = read_bit_count(text.substr(slash + 1), bits);
        if (!read) return read.error();
        bits = *read;
    }
    for (unsigned index = bits; index < width_of(range.family_); ++index) {
        if (bit_of(range.address_, index)) return Errc::invalid_range;
    }
    if (range.family_ == AF_INET6 && bits >= mapped_bits && is_mapped(range.address_)) {
        range.family_ = AF_INET;
        range.address_ = unmapped(range.address_);
        bits -= mapped_bits;
    }
    range.bit_count_ = static_cast<std::uint8_t>(bits);
    return range;
}

AddressRange AddressRange::of_literal(std::string_view text) {
    auto range = parse(text);
    if (range) return *range;
    const std::string message =
        "'" + std::string(text) + "' is " + make_error_code(Errc::invalid_range).message();
    assertion_failed("the text is a range of addresses", message.c_str(), __FILE__, __LINE__);
}

bool AddressRange::has_first_bits_of(const Address& address) const noexcept {
    for (unsigned index = 0; index < bit_count_; ++index) {
        if (bit_of(address, index) != bit_of(address_, index)) return false;
    }
    return true;
}

bool AddressRange::contains(const Endpoint& endpoint) const noexcept {
    if (endpoint.is_unix()) return family_ == AF_UNIX;
    AddressBytes bytes{};
    if (!endpoint.is_v6()) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(endpoint.data());
        std::memcpy(bytes.data(), &v4->sin_addr, sizeof v4->sin_addr);
        return family_ == AF_INET && has_first_bits_of(bytes);
    }
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(endpoint.data());
    std::memcpy(bytes.data(), &v6->sin6_addr, sizeof v6->sin6_addr);
    if (is_mapped(bytes)) return family_ == AF_INET && has_first_bits_of(unmapped(bytes));
    return family_ == AF_INET6 && has_first_bits_of(bytes);
}

std::string AddressRange::to_string() const {
    if (family_ == AF_UNIX) return "unix:";
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(family_, address_.data(), text, sizeof text);
    std::string whole = text;
    if (bit_count_ != width_of(family_)) {
        whole += '/';
        whole += std::to_string(bit_count_);
    }
    return whole;
}

} // namespace ringlet
