#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace RINGLET_EXPORT ringlet {

/// A range of addresses that share their first bits, such as `10.0.0.0/8`: for access lists.
///
///     const std::vector<AddressRange> trusted = {"127.0.0.1", "10.0.0.0/8", "fd00::/8"};
///
/// An IPv4 address that an IPv6 socket reports as `::ffff:10.0.0.1` counts as IPv4: `10.0.0.0/8` contains it, and no
/// IPv6 range does.
class AddressRange {
public:
    /// Reads `10.0.0.0/8`, `fd00::/8`, a single address, or `unix:`, which stands for every Unix socket, since most
    /// have no name.
    ///
    /// Errors    `invalid_range`, even if only bits beyond the prefix are set, as in `10.0.0.1/8`: either the address
    ///           or the length is a mistake.
    static Result<AddressRange> parse(std::string_view text);

    /// Reads a literal in the program in the same way. Aborts with the text if it is not a range.
    template <std::size_t N>
    AddressRange(const char (&literal)[N]) // NOLINT: implicit
        : AddressRange(of_literal({literal, N - 1})) {}

    /// Whether the address is in the range. Its port and zone are ignored.
    [[nodiscard]] bool contains(const Endpoint& endpoint) const noexcept;

    /// The range in the form that `parse` reads.
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const AddressRange& left, const AddressRange& right) noexcept = default;

private:
    using Address = std::array<std::uint8_t, 16>; // IPv4 uses the first four
    AddressRange() noexcept = default;
    static AddressRange of_literal(std::string_view text);
    [[nodiscard]] bool has_first_bits_of(const Address& address) const noexcept;

    Address address_{};
    std::uint8_t bit_count_ = 0;
    int family_ = AF_UNIX;
};

} // namespace ringlet
