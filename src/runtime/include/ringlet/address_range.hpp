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

/// Addresses that have their first bits in common, `10.0.0.0/8`: for lists of who may do what.
///
///     const std::vector<AddressRange> trusted = {"127.0.0.1", "10.0.0.0/8", "fd00::/8"};
///
/// An IPv4 address is the same one however it came: `10.0.0.0/8` has also `::ffff:10.0.0.1`, which is what an IPv6
/// socket says of it, and no range of IPv6 has it.
class AddressRange {
public:
    /// Reads `10.0.0.0/8`, `fd00::/8`, a single address, or `unix:` for every Unix socket: most have no name.
    ///
    /// Errors    `invalid_range`; also where bits behind the first ones are set, as in `10.0.0.1/8`: one of both is a
    ///           mistake.
    static Result<AddressRange> parse(std::string_view text);

    /// The same of what stands in the program. Aborts with the text if it is no range.
    template <std::size_t N>
    AddressRange(const char (&literal)[N]) // NOLINT: implicit
        : AddressRange(of_literal({literal, N - 1})) {}

    /// Whether it is one of them, whatever its port and zone.
    [[nodiscard]] bool contains(const Endpoint& endpoint) const noexcept;

    /// What `parse` reads.
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const AddressRange& left, const AddressRange& right) noexcept = default;

private:
    using Address = std::array<std::uint8_t, 16>; // of IPv4 the first four
    AddressRange() noexcept = default;
    static AddressRange of_literal(std::string_view text);
    [[nodiscard]] bool has_first_bits_of(const Address& address) const noexcept;

    Address address_{};
    std::uint8_t bit_count_ = 0;
    int family_ = AF_UNIX;
};

} // namespace ringlet
