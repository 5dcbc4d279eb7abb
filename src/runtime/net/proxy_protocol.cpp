#include <ringlet/proxy_protocol.hpp>

#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <string>

#include <arpa/inet.h>

// The parser gives the minimum length of a header, and that much is received until the header is complete, so no byte
// after it is taken. This works on every ring, in a simulation and for direct descriptors, and needs no wrapper around
// the stream. Rejected alternatives: docs/internals/decisions.md.

namespace ringlet {

namespace {

class ProxyCategory final : public std::error_category {
public:
    const char* name() const noexcept override { return "ringlet.proxy"; }

    std::string message(int code) const override {
        switch (static_cast<ProxyErrc>(code)) {
        case ProxyErrc::not_a_header:
            return "what came is no PROXY header: does the proxy send one (send-proxy, "
                   "proxy_protocol on)?";
        case ProxyErrc::header_too_long: return "the PROXY header is longer than allowed";
        case ProxyErrc::line_malformed: return "the line of the PROXY header is malformed";
        case ProxyErrc::line_address_invalid:
            return "an address or a port in the line of the PROXY header is none";
        case ProxyErrc::version_unsupported: return "the PROXY header has an unknown version";
        case ProxyErrc::command_unsupported: return "the PROXY header has an unknown command";
        case ProxyErrc::family_unsupported:
            return "the PROXY header has an unknown address family or transport";
        case ProxyErrc::addresses_truncated:
            return "the PROXY header is too short for its addresses";
        case ProxyErrc::extension_truncated: return "a TLV of the PROXY header is cut short";
        case ProxyErrc::checksum_wrong: return "the checksum of the PROXY header is wrong";
        case ProxyErrc::source_not_trusted:
            return "the connection comes from an address that is no trusted proxy";
        }
        return "unknown error of the PROXY protocol " + std::to_string(code);
    }
};

using Bytes = std::span<const std::byte>;

std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<ProxyParse> need(std::size_t least_bytes) {
    return ProxyParse{.header = std::nullopt, .least_bytes = least_bytes};
}

Result<ProxyParse> found(ProxyHeader header) {
    const std::size_t size_bytes = header.size_bytes;
    return ProxyParse{.header = std::move(header), .least_bytes = size_bytes};
}

// ---- version 1: PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n --------------------------------

constexpr std::string_view line_begin = "PROXY ";
constexpr std::string_view line_end = "\r\n";
constexpr std::string_view shortest_line = "PROXY UNKNOWN\r\n";

struct Kind {
    std::string_view name;
    int family;
    std::size_t shortest_address_bytes; // 0.0.0.0 or ::
};
constexpr std::array kinds = {Kind{"TCP4", AF_INET, 7}, Kind{"TCP6", AF_INET6, 2}};
constexpr std::string_view unknown_kind = "UNKNOWN";

// The text between single spaces: two spaces in a row give an empty field.
std::vector<std::string_view> fields_of(std::string_view text) {
    std::vector<std::string_view> fields;
    for (;;) {
        const auto space = text.find(' ');
        fields.push_back(text.substr(0, space));
        if (space == std::string_view::npos) return fields;
        text.remove_prefix(space + 1);
    }
}

Result<Endpoint> read_address(int family, std::string_view host, std::string_view port) {
    std::uint16_t number = 0;
    const char* end = std::to_address(port.end());
    const auto [rest, failure] = std::from_chars(std::to_address(port.begin()), end, number);
    const bool is_padded = port.size() > 1 && port.front() == '0';
    if (failure != std::errc{} || rest != end || is_padded) return ProxyErrc::line_address_invalid;

    sockaddr_storage address{};
    address.ss_family = static_cast<sa_family_t>(family);
    const std::string name(host); // inet_pton(3) wants a NUL, and must not find one before the end
    void* number_of_host =
        family == AF_INET ? static_cast<void*>(&reinterpret_cast<sockaddr_in&>(address).sin_addr)
                          : &reinterpret_cast<sockaddr_in6&>(address).sin6_addr;
    if (name.find('\0') != std::string::npos ||
        ::inet_pton(family, name.c_str(), number_of_host) != 1)
        return ProxyErrc::line_address_invalid;
    Endpoint endpoint = Endpoint::from_sockaddr(address);
    endpoint.set_port(number);
    return endpoint;
}

Result<ProxyParse> parse_whole_line(std::string_view line) {
    ProxyHeader header;
    header.version = 1;
    header.size_bytes = line.size() + line_end.size();
    const auto fields = fields_of(line.substr(line_begin.size()));
    if (fields[0] == unknown_kind) return found(std::move(header)); // whatever follows it
    for (const Kind& kind : kinds) {
        if (fields[0] != kind.name) continue;
        if (fields.size() != 5) return ProxyErrc::line_malformed;
        auto source = read_address(kind.family, fields[1], fields[3]);
        if (!source) return source.error();
        auto destination = read_address(kind.family, fields[2], fields[4]);
        if (!destination) return destination.error();
        header.source = *source;
        header.destination = *destination;
        return found(std::move(header));
    }
    return ProxyErrc::line_malformed;
}

// The least number of bytes that must still follow the start of a valid line.
std::size_t least_rest_of(std::string_view line) {
    if (line.ends_with('\r')) return 1;
    const auto fields = fields_of(line.substr(line_begin.size()));
    for (const Kind& kind : kinds) {
        if (fields[0] != kind.name || fields.size() > 5) continue;
        const std::array<std::size_t, 5> shortest = {kind.name.size(), kind.shortest_address_bytes,
                                                     kind.shortest_address_bytes, 1, 1};
        std::size_t rest = line_end.size();
        for (std::size_t index = fields.size() - 1; index < shortest.size(); ++index) {
            const bool has_begun = index + 1 == fields.size();
            const std::size_t here = has_begun ? fields.back().size() : 0;
            rest += shortest[index] - std::min(here, shortest[index]) + (has_begun ? 0 : 1);
        }
        return rest;
    }
    return line_end.size();
}

Result<ProxyParse> parse_line(std::string_view text) {
    const auto end = text.find('\r');
    if (end != std::string_view::npos && end + line_end.size() <= text.size()) {
        if (end + line_end.size() > ProxyHeader::line_limit_bytes)
            return ProxyErrc::header_too_long;
        if (text.substr(end, line_end.size()) != line_end) return ProxyErrc::line_malformed;
        return parse_whole_line(text.substr(0, end));
    }
    std::size_t least_bytes = shortest_line.size();
    if (text.size() >= line_begin.size())
        least_bytes = std::max(least_bytes, text.size() + least_rest_of(text));
    if (least_bytes > ProxyHeader::line_limit_bytes) return ProxyErrc::header_too_long;
    return need(least_bytes);
}

// ---- version 2 ------------------------------------------------------------------------------------

constexpr std::string_view signature{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr std::size_t fixed_bytes =
    16; // the signature, version and command, family and transport, the length
constexpr unsigned local_command = 0;
constexpr unsigned proxy_command = 1;

struct Family {
    int family;
    std::size_t address_bytes;
    std::size_t port_bytes;
};
constexpr std::array<Family, 4> families = {Family{AF_UNSPEC, 0, 0}, Family{AF_INET, 4, 2},
                                            Family{AF_INET6, 16, 2}, Family{AF_UNIX, 108, 0}};
constexpr unsigned datagram_transport = 2; // 0 is none, 1 a stream

unsigned number_at(Bytes bytes, std::size_t index) { return static_cast<unsigned>(bytes[index]); }
std::size_t length_at(Bytes bytes, std::size_t index) {
    return number_at(bytes, index) << 8 | number_at(bytes, index + 1);
}

// The first address, or the second: both addresses come before both ports.
Endpoint address_at(Bytes block, const Family& family, std::size_t which) {
    const Bytes host = block.subspan(which * family.address_bytes, family.address_bytes);
    sockaddr_storage address{};
    address.ss_family = static_cast<sa_family_t>(family.family);
    if (family.family == AF_UNIX) {
        auto& local = reinterpret_cast<sockaddr_un&>(address);
        static_assert(sizeof local.sun_path == 108);
        std::memcpy(local.sun_path, host.data(), host.size());
    } else if (family.family == AF_INET6) {
        std::memcpy(&reinterpret_cast<sockaddr_in6&>(address).sin6_addr, host.data(), host.size());
    } else {
        std::memcpy(&reinterpret_cast<sockaddr_in&>(address).sin_addr, host.data(), host.size());
    }
    Endpoint endpoint = Endpoint::from_sockaddr(address, sizeof(sockaddr_un));
    if (family.port_bytes > 0) {
        const std::size_t at = 2 * family.address_bytes + which * family.port_bytes;
        endpoint.set_port(static_cast<std::uint16_t>(length_at(block, at)));
    }
    return endpoint;
}

constexpr std::size_t tlv_begin_bytes = 3; // the type, and two bytes of the length

// The TLV at the beginning; none if it is cut short.
std::optional<ProxyTlv> first_tlv(Bytes bytes) {
    if (bytes.size() < tlv_begin_bytes) return std::nullopt;
    const std::size_t length = length_at(bytes, 1);
    if (length > bytes.size() - tlv_begin_bytes) return std::nullopt;
    return ProxyTlv{.type = static_cast<std::uint8_t>(bytes[0]),
                    .bytes = bytes.subspan(tlv_begin_bytes, length)};
}

Bytes behind(Bytes bytes, const ProxyTlv& tlv) {
    return bytes.subspan(tlv_begin_bytes + tlv.bytes.size());
}

// RFC 4960, appendix B, bit by bit: it is rarely needed, and for few bytes. The bytes of the checksum count as zeros.
std::uint32_t crc32c_of(Bytes header, Bytes checksum) {
    std::uint32_t crc = 0xffff'ffff;
    for (const std::byte& byte : header) {
        const bool is_of_checksum =
            &byte >= checksum.data() && &byte < checksum.data() + checksum.size();
        crc ^= is_of_checksum ? 0 : static_cast<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f6'3b78 : 0);
    }
    return ~crc;
}

Result<void> check_extensions(Bytes header, Bytes extensions) {
    while (!extensions.empty()) {
        const auto tlv = first_tlv(extensions);
        if (!tlv) return ProxyErrc::extension_truncated;
        if (tlv->type == ProxyTlv::crc32c) {
            if (tlv->bytes.size() != 4) return ProxyErrc::checksum_wrong;
            const auto said = length_at(tlv->bytes, 0) << 16 | length_at(tlv->bytes, 2);
            if (said != crc32c_of(header, tlv->bytes)) return ProxyErrc::checksum_wrong;
        }
        extensions = behind(extensions, *tlv);
    }
    return {};
}

Result<ProxyParse> parse_binary(Bytes bytes) {
    if (bytes.size() > signature.size() && number_at(bytes, signature.size()) >> 4 != 2)
        return ProxyErrc::version_unsupported;
    if (bytes.size() < fixed_bytes) return need(fixed_bytes);
    const unsigned command = number_at(bytes, 12) & 0xf;
    const unsigned family_number = number_at(bytes, 13) >> 4;
    const unsigned transport = number_at(bytes, 13) & 0xf;
    ProxyHeader header;
    header.version = 2;
    header.size_bytes = fixed_bytes + length_at(bytes, 14);
    header.is_local = command == local_command;
    if (!header.is_local && command != proxy_command) return ProxyErrc::command_unsupported;
    if (header.size_bytes > ProxyHeader::limit_bytes) return ProxyErrc::header_too_long;
    if (!header.is_local && (family_number >= families.size() || transport > datagram_transport))
        return ProxyErrc::family_unsupported;

    // A receiver ignores the addresses and extensions of LOCAL, and of an unspecified family or transport.
    const bool names_client = !header.is_local && family_number != 0 && transport != 0;
    const Family& family = families[names_client ? family_number : 0];
    const std::size_t begin_bytes = fixed_bytes + 2 * (family.address_bytes + family.port_bytes);
    if (header.size_bytes < begin_bytes) return ProxyErrc::addresses_truncated;
    if (bytes.size() < header.size_bytes) return need(header.size_bytes);
    if (!names_client) return found(std::move(header));

    const Bytes whole = bytes.first(header.size_bytes);
    const Bytes extensions = whole.subspan(begin_bytes);
    auto checked = check_extensions(whole, extensions);
    if (!checked) return checked.error();
    header.source = address_at(whole.subspan(fixed_bytes), family, 0);
    header.destination = address_at(whole.subspan(fixed_bytes), family, 1);
    header.is_datagram = transport == datagram_transport;
    header.extensions.assign(extensions.begin(), extensions.end());
    return found(std::move(header));
}

bool begins_like(std::string_view text, std::string_view whole) {
    return text.substr(0, whole.size()) == whole.substr(0, text.size());
}

// ---- from a stream ---------------------------------------------------------------------------------

Task<Result<ProxyHeader>> receive_header(StreamSocket& stream) {
    std::vector<std::byte> received;
    for (;;) {
        auto parsed = parse_proxy_header(received);
        if (!parsed) co_return parsed.error();
        if (parsed->header) co_return std::move(*parsed->header);
        const std::size_t before = received.size();
        received.resize(parsed->least_bytes);
        auto some = co_await stream.recv(std::span(received).subspan(before));
        if (!some) co_return some.error();
        received.resize(before + *some);
        if (*some > 0) continue;
        if (before == 0) co_return Errc::end_of_stream;
        co_return Errc::message_truncated;
    }
}

} // namespace

const std::error_category& proxy_error_category() noexcept {
    static const ProxyCategory category;
    return category;
}

std::vector<ProxyTlv> ProxyHeader::tlvs() const {
    std::vector<ProxyTlv> all;
    Bytes rest = extensions;
    while (const auto tlv = first_tlv(rest)) {
        all.push_back(*tlv);
        rest = behind(rest, *tlv);
    }
    return all;
}

std::optional<ProxyTlv> ProxyHeader::tlv(std::uint8_t type) const {
    Bytes rest = extensions;
    while (const auto tlv = first_tlv(rest)) {
        if (tlv->type == type) return tlv;
        rest = behind(rest, *tlv);
    }
    return std::nullopt;
}

Result<ProxyParse> parse_proxy_header(std::span<const std::byte> bytes) {
    const std::string_view text = as_text(bytes);
    if (text.empty()) return need(shortest_line.size());
    if (begins_like(text, line_begin)) return parse_line(text);
    if (begins_like(text, signature)) return parse_binary(bytes);
    return ProxyErrc::not_a_header;
}

Task<Result<ProxyHeader>> read_proxy_header(StreamSocket& stream, Clock::duration timeout) {
    Task<Result<ProxyHeader>> receiving = receive_header(stream);
    auto header = co_await with_timeout(timeout, std::move(receiving));
    co_return header;
}

Task<Result<std::optional<ProxyHeader>>> accept_from_proxy(StreamSocket& stream,
                                                           const ProxyOptions& options) {
    auto peer = stream.peer();
    if (!peer) co_return peer.error();
    const auto refused = [&](std::error_code error) {
        if (options.report)
            options.report("PROXY header of " + peer->to_string() + ": " + error.message());
        return error;
    };
    const auto is_peer = [&](const AddressRange& range) { return range.contains(*peer); };
    if (!std::ranges::any_of(options.trusted, is_peer)) {
        if (options.others == ProxyOptions::Others::serve) co_return std::optional<ProxyHeader>();
        co_return refused(ProxyErrc::source_not_trusted);
    }
    auto header = co_await read_proxy_header(stream, options.timeout);
    if (!header) co_return refused(header.error());
    if (header->source) stream.set_peer(*header->source);
    co_return std::optional<ProxyHeader>(std::move(*header));
}

} // namespace ringlet
