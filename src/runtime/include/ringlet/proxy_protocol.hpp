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

/// What is wrong with a PROXY header or its sender.
enum class ProxyErrc {
    not_a_header = 1,     ///< the first bytes are neither those of version 1 nor those of version 2
    header_too_long,      ///< longer than `ProxyHeader::line_limit_bytes`, or `limit_bytes`
    line_malformed,       ///< version 1: wrong fields, or not separated by single spaces
    line_address_invalid, ///< version 1: an address or a port is invalid for its family
    version_unsupported,  ///< the signature of version 2, but a different version number
    command_unsupported,  ///< version 2: neither LOCAL nor PROXY
    family_unsupported,   ///< version 2: an address family or a transport that is undefined
    addresses_truncated,  ///< version 2: its length is too short for the addresses of its family
    extension_truncated,  ///< version 2: a TLV is longer than the rest of the header
    checksum_wrong,       ///< version 2: its CRC32c does not match
    source_not_trusted,   ///< the connecting address is not in `ProxyOptions::trusted`
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

/// A type-length-value (TLV) of a version 2 header: what a proxy reports beyond the addresses.
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

/// The default time to wait for a header. A proxy sends it at once; the protocol asks for at least three seconds, so
/// that a lost segment can be retransmitted.
inline constexpr Clock::duration proxy_header_timeout = std::chrono::seconds(5);

/// What a proxy says about a connection before it forwards its bytes (the PROXY protocol of HAProxy, versions 1 and 2:
/// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).
struct ProxyHeader {
    /// The size limit of a version 1 header, with its CR LF (set by the protocol).
    static constexpr std::size_t line_limit_bytes = 107;
    /// The size limit of a version 2 header. The protocol allows 65,551 bytes; nginx has this limit, too.
    static constexpr std::size_t limit_bytes = 4096;

    /// The client, and the address to which it connected. Empty if the header names none: for LOCAL, for UNKNOWN, and
    /// for a family or a transport unknown to the proxy. Then only the connection itself has addresses.
    std::optional<Endpoint> source;
    std::optional<Endpoint> destination;
    /// LOCAL: the proxy connected on its own behalf, usually for a health check.
    bool is_local = false;
    /// The client sends datagrams to the proxy.
    bool is_datagram = false;
    std::uint8_t version = 0;   ///< 1 or 2; 0: there was no header (`Others::serve`)
    std::size_t size_bytes = 0; ///< of the header on the wire
    /// The raw TLVs, in the order received. None without a source.
    std::vector<std::byte> extensions;

    /// The TLVs in order. They refer to `extensions`.
    [[nodiscard]] std::vector<ProxyTlv> tlvs() const;
    /// The first one of a type, if there is any.
    [[nodiscard]] std::optional<ProxyTlv> tlv(std::uint8_t type) const;
};

/// What `parse_proxy_header` made of the bytes so far.
struct ProxyParse {
    /// The header, if it is complete; `ProxyHeader::size_bytes` says where it ends.
    std::optional<ProxyHeader> header;
    /// The minimum size of the header. A receive up to here takes nothing that comes after it.
    std::size_t least_bytes = 0;
};

/// Parses a PROXY header of either version from the start of the received bytes. No I/O.
///
///     auto parsed = parse_proxy_header(received);
///     if (!parsed) return parsed.error();
///     if (!parsed->header) ... // receive until there are `parsed->least_bytes` (always more), and parse again
///
/// Returns   `Result<ProxyParse>`.
/// Errors    `ProxyErrc`, as soon as the bytes cannot become a header, which the first byte may already show.
[[nodiscard]] Result<ProxyParse> parse_proxy_header(std::span<const std::byte> bytes);

/// Receives a PROXY header, and not a byte of what comes after it.
///
/// Lifetime  The stream is referred to until the await has ended.
/// Suspends  Until the header is complete.
/// Cancel    Ends with `operation_canceled`. The part of the header received so far is lost: end the connection.
/// Returns   `Result<ProxyHeader>`.
/// Errors    `ProxyErrc`; `timed_out`; `end_of_stream` if nothing came at all, `message_truncated` if the stream
///           ended within the header; as `StreamSocket::recv`.
/// Cost      Three receives for version 2, two to eight for the addresses of version 1: a receive never asks for
///           more bytes than certainly belong to the header. One allocation that grows, and two frames.
[[nodiscard]] Task<Result<ProxyHeader>>
read_proxy_header(StreamSocket& stream, Clock::duration timeout = proxy_header_timeout);

/// Which proxies are trusted, and for how long to wait.
struct ProxyOptions {
    /// The proxies, by the addresses that they connect from: `{"127.0.0.1", "10.0.0.0/8", "unix:"}`. Anyone who can
    /// connect from one of them can claim any client address.
    std::vector<AddressRange> trusted;

    /// How long a proxy may take for the header.
    Clock::duration timeout = proxy_header_timeout;

    /// What to do with a connection from any other address.
    enum class Others : std::uint8_t {
        refuse, ///< it is closed, without a look at what it says: `source_not_trusted`
        serve ///< it is served as it is. A header that it sends is not believed: the handler gets its bytes
    };
    Others others = Others::refuse;

    /// Receives a line for each closed connection, with the reason. Called on the worker's thread.
    std::function<void(std::string_view line)> report = {};
};

/// Does for one connection what `with_proxy_protocol` does for all: checks by `peer()` whether it is trusted, reads
/// the header, and makes `peer()` return the header's source, if it has one.
///
/// Lifetime  Both arguments are referred to until the await has ended.
/// Returns   `Result<std::optional<ProxyHeader>>`: empty for a connection that is served without one.
/// Errors    `source_not_trusted`; as `read_proxy_header`. Close the connection then.
[[nodiscard]] Task<Result<std::optional<ProxyHeader>>>
accept_from_proxy(StreamSocket& stream, const ProxyOptions& options);

} // namespace ringlet
