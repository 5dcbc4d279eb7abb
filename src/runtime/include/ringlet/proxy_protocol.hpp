#pragma once

#include <ringlet/address_range.hpp>
#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// What is wrong with a PROXY header, or with who sent it.
enum class ProxyErrc {
    not_a_header = 1, ///< the first bytes are neither those of version 1 nor those of version 2
    header_too_long,  ///< longer than `ProxyHeader::line_limit_bytes`, or `limit_bytes`
    line_malformed, ///< version 1: other fields than the protocol has, or no single space between them
    line_address_invalid, ///< version 1: an address or a port is none of its kind
    version_unsupported,  ///< the signature of version 2, and another number behind it
    command_unsupported,  ///< version 2: neither LOCAL nor PROXY
    family_unsupported,   ///< version 2: an address family or a transport that nobody has defined
    addresses_truncated,  ///< version 2: its length leaves no room for the addresses of its family
    extension_truncated,  ///< version 2: a TLV is longer than what is left of the header
    checksum_wrong,       ///< version 2: the CRC32c in it is that of other bytes
    source_not_trusted,   ///< `ProxyOptions::trusted` does not have the address that connected
};

/// The category of `ProxyErrc`.
[[nodiscard]] const std::error_category& proxy_error_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(ProxyErrc code) noexcept {
    return {static_cast<int>(code), proxy_error_category()};
}

} // namespace ringlet

template <>
struct std::is_error_code_enum<ringlet::ProxyErrc> : std::true_type {};

namespace RINGLET_EXPORT ringlet {

/// A type-length-value of a header of version 2: what a proxy tells beyond the addresses.
struct ProxyTlv {
    static constexpr std::uint8_t alpn = 0x01;      ///< the application protocol, `h2`
    static constexpr std::uint8_t authority = 0x02; ///< the host that the client asked for (SNI)
    static constexpr std::uint8_t crc32c =
        0x03; ///< the header's checksum; `parse_proxy_header` has checked it
    static constexpr std::uint8_t noop = 0x04; ///< padding
    static constexpr std::uint8_t unique_id =
        0x05; ///< a name that proxies have given to the connection
    static constexpr std::uint8_t ssl =
        0x20; ///< what the proxy knows of the client's TLS; the value has TLVs
    static constexpr std::uint8_t netns =
        0x30; ///< the network namespace in which the proxy got the connection

    std::uint8_t type = 0;
    std::span<const std::byte> bytes;

    [[nodiscard]] std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
};

/// How long to wait for a header if nothing else is said. A proxy sends it at once; the protocol asks for three seconds
/// at least, so that a segment can be lost and sent again.
inline constexpr Clock::duration proxy_header_timeout = std::chrono::seconds(5);

/// What a proxy says of a connection before it passes its bytes on (the PROXY protocol of HAProxy, versions 1 and 2:
/// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).
struct ProxyHeader {
    /// A header of version 1 with its CR LF (the protocol's own bound).
    static constexpr std::size_t line_limit_bytes = 107;
    /// A header of version 2. The protocol allows 65,551 bytes; this is also the limit of nginx.
    static constexpr std::size_t limit_bytes = 4096;

    /// The client, and the address to which it connected. Empty if the header names none: for LOCAL, for UNKNOWN, and
    /// for a family or a transport that the proxy did not know. Then the connection itself has the only addresses.
    std::optional<Endpoint> source;
    std::optional<Endpoint> destination;
    /// LOCAL: the proxy connected for itself, most often to see whether the server is well.
    bool is_local = false;
    /// The client sends datagrams to the proxy.
    bool is_datagram = false;
    std::uint8_t version = 0;   ///< 1 or 2; 0: there was no header (`Others::serve`)
    std::size_t size_bytes = 0; ///< of the header on the wire
    /// The TLVs as they came, one after the other. None without a source.
    std::vector<std::byte> extensions;

    /// The TLVs in their order. They refer to `extensions`.
    [[nodiscard]] std::vector<ProxyTlv> tlvs() const;
    /// The first one of a type, if there is any.
    [[nodiscard]] std::optional<ProxyTlv> tlv(std::uint8_t type) const;
};

/// What `parse_proxy_header` made of the bytes so far.
struct ProxyParse {
    /// The header, if it is there as a whole; `ProxyHeader::size_bytes` says where it ends.
    std::optional<ProxyHeader> header;
    /// The least number of bytes that the header has. A receive up to here takes nothing that comes after it.
    std::size_t least_bytes = 0;
};

/// Reads a PROXY header of either version from the beginning of what has been received. No I/O.
///
///     auto parsed = parse_proxy_header(received);
///     if (!parsed) return parsed.error();
///     if (!parsed->header) ... // receive until there are `parsed->least_bytes`, which are more, and ask again
///
/// Returns   `Result<ProxyParse>`.
/// Errors    `ProxyErrc`, as soon as the bytes cannot become a header: also the first one may say so.
[[nodiscard]] Result<ProxyParse> parse_proxy_header(std::span<const std::byte> bytes);

/// Receives a PROXY header, and not a byte of what comes after it.
///
/// Lifetime  The stream is referred to until the await has ended.
/// Suspends  Until the header is there as a whole.
/// Cancel    Ends with `operation_canceled`. What had come of the header is lost: end the connection.
/// Returns   `Result<ProxyHeader>`.
/// Errors    `ProxyErrc`; `timed_out`; `end_of_stream` if nothing came at all, `message_truncated` if the stream
///           ended within the header; as `StreamSocket::recv`.
/// Cost      Three receives for version 2, two to eight for the addresses of version 1: a receive never asks for
///           more than what is surely the header's. One allocation that grows, and two frames.
[[nodiscard]] Task<Result<ProxyHeader>>
read_proxy_header(StreamSocket& stream, Clock::duration timeout = proxy_header_timeout);

/// Who is believed, and how long.
struct ProxyOptions {
    /// The proxies, by the addresses from which they connect: `{"127.0.0.1", "10.0.0.0/8", "unix:"}`. Whoever can
    /// connect from one of them can pretend to be anybody.
    std::vector<AddressRange> trusted;

    /// How long a proxy may take for the header.
    Clock::duration timeout = proxy_header_timeout;

    /// What becomes of a connection from elsewhere.
    enum class Others : std::uint8_t {
        refuse, ///< it is closed, without a look at what it says: `source_not_trusted`
        serve ///< it is served as it is. A header that it sends is not believed: the handler gets its bytes
    };
    Others others = Others::refuse;

    /// Takes a line about each connection that was closed, and why. Called on the worker's thread.
    std::function<void(std::string_view line)> report = {};
};

/// Does for one connection what `with_proxy_protocol` does for all: decides by `peer()` whether it is trusted, reads
/// the header, and makes `peer()` answer with the source, if that has one.
///
/// Lifetime  Both are referred to until the await has ended.
/// Returns   `Result<std::optional<ProxyHeader>>`: nothing for a connection that is served without one.
/// Errors    `source_not_trusted`; as `read_proxy_header`. The connection is to be closed then.
[[nodiscard]] Task<Result<std::optional<ProxyHeader>>>
accept_from_proxy(StreamSocket& stream, const ProxyOptions& options);

} // namespace ringlet
