#pragma once

// PROXY headers, valid and invalid.

#include <ringlet/proxy_protocol.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace ringlet::testing {

inline constexpr unsigned local_command = 0;
inline constexpr unsigned tcp_v4 = 0x11;
inline constexpr unsigned udp_v4 = 0x12;
inline constexpr unsigned tcp_v6 = 0x21;
inline constexpr unsigned unix_stream = 0x31;

struct BinaryHeader {
    unsigned version = 2;
    unsigned command = 1;
    unsigned family = tcp_v4;
    std::string block = {}; ///< addresses and TLVs
};

inline std::string big_endian_16(std::size_t number) {
    return {static_cast<char>(number >> 8), static_cast<char>(number)};
}

inline std::string binary_header(const BinaryHeader& header) {
    return std::string("\r\n\r\n\0\r\nQUIT\n", 12) +
           static_cast<char>(header.version << 4 | header.command) +
           static_cast<char>(header.family) + big_endian_16(header.block.size()) + header.block;
}

/// From 192.0.2.1:4660 to 198.51.100.2:443.
inline const std::string v4_block("\xc0\0\2\1\xc6\x33\x64\2\x12\x34\1\xbb", 12);

/// From [2001:db8::1]:4660 to [2001:db8::2]:443.
inline std::string v6_block() {
    const std::string prefix("\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0", 15);
    return prefix + '\1' + prefix + '\2' + "\x12\x34\1\xbb";
}

inline std::string unix_block(std::string source, std::string destination) {
    source.resize(108);
    destination.resize(108);
    return source + destination;
}

inline std::string tlv(std::uint8_t type, std::string_view value) {
    return static_cast<char>(type) + big_endian_16(value.size()) + std::string(value);
}

/// With a table, independently of the library's implementation.
inline std::uint32_t crc32c(std::string_view text) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> made{};
        for (std::uint32_t index = 0; index < 256; ++index) {
            std::uint32_t entry = index;
            for (int bit = 0; bit < 8; ++bit)
                entry = (entry & 1) != 0 ? entry >> 1 ^ 0x82f6'3b78 : entry >> 1;
            made[index] = entry;
        }
        return made;
    }();
    std::uint32_t crc = ~std::uint32_t{0};
    for (const char letter : text)
        crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(letter)) & 0xff];
    return ~crc;
}

/// A header with a checksum between both parts of the block.
inline std::string with_checksum(const std::string& before, const std::string& after) {
    std::string header =
        binary_header({.block = before + tlv(ProxyTlv::crc32c, std::string(4, '\0')) + after});
    const std::uint32_t crc = crc32c(header);
    const std::string text = big_endian_16(crc >> 16) + big_endian_16(crc & 0xffff);
    return header.replace(header.size() - after.size() - 4, 4, text);
}

} // namespace ringlet::testing
