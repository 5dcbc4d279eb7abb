#include <ringlet/proxy_protocol.hpp>
#include <ringlet/with_proxy_protocol.hpp>

#include "death.hpp"
#include "net.hpp"
#include "proxy_header.hpp"
#include "serving_thread.hpp"

#include "net/named_peers.hpp"

#include <ringlet/testing/simulation.hpp>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;
using namespace std::string_view_literals;

namespace {

Result<ProxyParse> parse(std::string_view text) { return parse_proxy_header(bytes_of(text)); }

// Valid headers of every kind.
std::vector<std::string> good_headers() {
    std::vector<std::string> all = {
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN 1.2.3.4 nonsense  \n\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        "PROXY TCP6 :: :: 0 0\r\n",
        "PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 56324 443\r\n",
        "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
        "65535 65535\r\n",
        binary_header({.command = local_command, .family = 0}),
        binary_header({.command = local_command, .family = 0xff, .block = "anything"}),
        binary_header({.family = 0}),
        binary_header({.family = 0x10, .block = "x"}),
        binary_header({.family = 0x01, .block = "xyz"}),
        binary_header({.block = v4_block}),
        binary_header({.family = udp_v4, .block = v4_block}),
        binary_header({.family = tcp_v6, .block = v6_block()}),
        binary_header({.family = unix_stream, .block = unix_block("/run/app", "")}),
        binary_header({.block = v4_block + tlv(ProxyTlv::authority, "example.org") +
                                tlv(ProxyTlv::noop, "") + tlv(0xee, std::string(300, 'e'))}),
        with_checksum(v4_block + tlv(ProxyTlv::alpn, "h2"), tlv(ProxyTlv::unique_id, "7")),
    };
    REQUIRE(all[7].size() <= ProxyHeader::line_limit_bytes);
    return all;
}

} // namespace

TEST_CASE("a version 1 line is parsed into its addresses and its length") {
    auto parsed = parse("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n");
    REQUIRE(parsed);
    REQUIRE(parsed->header);
    CHECK(parsed->header->version == 1);
    CHECK(parsed->header->size_bytes == 47);
    CHECK(parsed->least_bytes == 47);
    CHECK(*parsed->header->source == loopback("192.168.0.1:56324"));
    CHECK(*parsed->header->destination == loopback("192.168.0.11:443"));
    CHECK_FALSE(parsed->header->is_local);
    CHECK_FALSE(parsed->header->is_datagram);
    CHECK(parsed->header->tlvs().empty());

    parsed = parse("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n");
    REQUIRE(parsed);
    REQUIRE(parsed->header);
    CHECK(*parsed->header->source == loopback("[2001:db8::1]:65535"));
    CHECK(*parsed->header->destination == loopback("[::1]:0"));
}

TEST_CASE("UNKNOWN has no addresses, whatever follows it") {
    for (const auto text :
         {"PROXY UNKNOWN\r\n"sv, "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"sv,
          "PROXY UNKNOWN \n\0 PROXY TCP4\r\n"sv}) {
        CAPTURE(text);
        auto parsed = parse(text);
        REQUIRE(parsed);
        REQUIRE(parsed->header);
        CHECK_FALSE(parsed->header->source);
        CHECK_FALSE(parsed->header->destination);
        CHECK_FALSE(parsed->header->is_local);
        CHECK(parsed->header->size_bytes == text.size());
    }
}

TEST_CASE("a malformed version 1 line is refused with the matching error") {
    struct Row {
        std::string_view text;
        ProxyErrc error;
    };
    using enum ProxyErrc;
    const std::string too_long = "PROXY UNKNOWN " + std::string(92, 'x') + "\r\n"; // 108 bytes
    const std::string endless(106, 'x');
    const std::string endless_line = "PROXY UNKNOWN " + endless;
    const std::vector<Row> rows = {
        {"GET / HTTP/1.1\r\n", not_a_header},
        {"P ", not_a_header},
        {"PROXYTCP4", not_a_header},
        {"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", not_a_header},
        {" PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", not_a_header},
        {"\n", not_a_header},
        {"\0"sv, not_a_header},
        {too_long, header_too_long},
        {endless_line, header_too_long},
        {"PROXY \r\n", line_malformed},
        {"PROXY TCP4\r\n", line_malformed},
        {"PROXY TCP4 \r\n", line_malformed},
        {"PROXY TCP4 1.2.3.4\r\n", line_malformed},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", line_malformed},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", line_malformed},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", line_malformed},
        {"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", line_malformed},
        {"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", line_malformed},
        {"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", line_malformed},
        {"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", line_malformed},
        {"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", line_malformed},
        {"PROXY UNKNOWNS\r\n", line_malformed},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rGET", line_malformed},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n", line_malformed},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4\t5.6.7.8 1 2 3\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", line_address_invalid},
        {"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"sv, line_address_invalid},
        {"PROXY TCP4 ::1 ::1 1 2\r\n", line_address_invalid},
        {"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", line_address_invalid},
        {"PROXY TCP6 ::1%lo ::1 1 2\r\n", line_address_invalid},
        {"PROXY TCP6 [::1] ::1 1 2\r\n", line_address_invalid},
        {"PROXY TCP6 ::1 ::g 1 2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999999999999999999\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 0x2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", line_address_invalid},
        {"PROXY TCP4 1.2.3.4 5.6.7.8  2\r\n", line_address_invalid},
    };
    for (const auto& [text, error] : rows) {
        CAPTURE(text);
        const auto parsed = parse(text);
        CHECK_MESSAGE(parsed.error() == error, parsed.error().message());
    }
    CHECK(parse("PROXY UNKNOWN " + std::string(91, 'x') + "\r\n")); // 107 bytes
}

TEST_CASE("a version 2 header is parsed into its addresses, its transport and its length") {
    auto parsed = parse(binary_header({.block = v4_block}) + "GET / HTTP/1.1\r\n");
    REQUIRE(parsed);
    REQUIRE(parsed->header);
    CHECK(parsed->header->version == 2);
    CHECK(parsed->header->size_bytes == 28);
    CHECK(*parsed->header->source == loopback("192.0.2.1:4660"));
    CHECK(*parsed->header->destination == loopback("198.51.100.2:443"));
    CHECK_FALSE(parsed->header->is_local);
    CHECK_FALSE(parsed->header->is_datagram);

    parsed = parse(binary_header({.family = udp_v4, .block = v4_block}));
    REQUIRE(parsed);
    REQUIRE(parsed->header);
    CHECK(parsed->header->is_datagram);

    parsed = parse(binary_header({.family = tcp_v6, .block = v6_block()}));
    REQUIRE(parsed);
    REQUIRE(parsed->header);
    CHECK(parsed->header->size_bytes == 52);
    CHECK(*parsed->header->source == loopback("[2001:db8::1]:4660"));
    CHECK(*parsed->header->destination == loopback("[2001:db8::2]:443"));
}

TEST_CASE("Unix addresses have a path, an abstract name or none") {
    struct Row {
        std::string name;
        std::string printed;
    };
    const std::vector<Row> rows = {
        {"/run/app.sock", "unix:/run/app.sock"},
        {std::string("\0name", 5), "unix:@name"},
        {"", "unix:"},
        {std::string(108, 'p'), "unix:" + std::string(108, 'p')}, // a path without a NUL
    };
    for (const auto& [name, printed] : rows) {
        auto parsed = parse(
            binary_header({.family = unix_stream, .block = unix_block(name, "/run/proxy.sock")}));
        REQUIRE(parsed);
        REQUIRE(parsed->header);
        CHECK(parsed->header->size_bytes == 16 + 216);
        CHECK(parsed->header->source->is_unix());
        CHECK(parsed->header->source->to_string() == printed);
        CHECK(parsed->header->destination->to_string() == "unix:/run/proxy.sock");
    }
}

TEST_CASE("LOCAL, and an unspecified family or transport, have no addresses") {
    for (const unsigned family : {0x00U, tcp_v4, 0x50U, 0xffU}) {
        for (const auto& block : {std::string(), v4_block, std::string("no TLV, and no address")}) {
            auto parsed =
                parse(binary_header({.command = local_command, .family = family, .block = block}));
            REQUIRE(parsed);
            REQUIRE(parsed->header);
            CHECK(parsed->header->is_local);
            CHECK_FALSE(parsed->header->source);
            CHECK(parsed->header->size_bytes == 16 + block.size());
            CHECK(parsed->header->tlvs().empty());
        }
    }
    for (const unsigned family : {0x00U, 0x01U, 0x02U, 0x10U, 0x20U, 0x30U}) {
        auto parsed = parse(binary_header({.family = family, .block = "whatever"}));
        REQUIRE(parsed);
        REQUIRE(parsed->header);
        CHECK_FALSE(parsed->header->is_local);
        CHECK_FALSE(parsed->header->source);
    }
}

TEST_CASE("a malformed version 2 header is refused with the matching error") {
    using enum ProxyErrc;
    for (unsigned version = 0; version < 16; ++version) {
        const auto error = parse(binary_header({.version = version, .block = v4_block})).error();
        if (version != 2) CHECK(error == version_unsupported);
        if (version == 2) CHECK_FALSE(error);
    }
    for (unsigned command = 2; command < 16; ++command) {
        CHECK(parse(binary_header({.command = command, .block = v4_block})).error() ==
              command_unsupported);
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
        const auto error =
            parse(binary_header({.family = byte, .block = std::string(300, '\0')})).error();
        const bool is_known = byte >> 4 <= 3 && (byte & 0xf) <= 2;
        if (!is_known) CHECK(error == family_unsupported);
        if (is_known) CHECK_FALSE(error);
    }
    struct Row {
        unsigned family;
        std::size_t size_bytes;
    };
    for (const auto& [family, size_bytes] :
         {Row{tcp_v4, 12}, Row{udp_v4, 12}, Row{tcp_v6, 36}, Row{unix_stream, 216}}) {
        for (std::size_t size = 0; size < size_bytes; ++size) {
            const std::string header =
                binary_header({.family = family, .block = std::string(size, '\0')});
            CHECK(parse(header).error() == addresses_truncated);
            CHECK(parse(header.substr(0, 16)).error() == addresses_truncated); // early
        }
        CHECK(parse(binary_header({.family = family, .block = std::string(size_bytes, '\0')})));
    }
    const std::size_t room = ProxyHeader::limit_bytes - 16 - v4_block.size();
    CHECK(parse(binary_header({.block = v4_block + tlv(1, std::string(room - 3, 'x'))})));
    const auto longer = binary_header({.block = v4_block + tlv(1, std::string(room - 2, 'x'))});
    CHECK(parse(longer).error() == header_too_long);
    CHECK(parse(longer.substr(0, 16)).error() == header_too_long);
    for (std::size_t index = 0; index < 12; ++index) {
        auto header = binary_header({.block = v4_block});
        header[index] = static_cast<char>(header[index] ^ 1);
        CHECK(parse(header).error() == not_a_header);
        CHECK(parse(header.substr(0, index + 1)).error() == not_a_header); // at the wrong byte
    }
}

TEST_CASE("TLVs can be read one by one, or by type") {
    const std::string block = v4_block + tlv(ProxyTlv::authority, "example.org") +
                              tlv(ProxyTlv::noop, "") + tlv(ProxyTlv::unique_id, "first") +
                              tlv(ProxyTlv::unique_id, "second");
    auto parsed = parse(binary_header({.block = block}));
    REQUIRE(parsed);
    REQUIRE(parsed->header);
    const ProxyHeader header = *parsed->header; // has a copy of their bytes
    const auto all = header.tlvs();
    REQUIRE(all.size() == 4);
    CHECK(all[0].type == ProxyTlv::authority);
    CHECK(all[0].text() == "example.org");
    CHECK(all[1].bytes.empty());
    CHECK(all[3].text() == "second");
    REQUIRE(header.tlv(ProxyTlv::unique_id));
    CHECK(header.tlv(ProxyTlv::unique_id)->text() == "first");
    CHECK_FALSE(header.tlv(ProxyTlv::alpn));
}

TEST_CASE("a TLV that is cut short anywhere is refused") {
    const std::string whole = tlv(ProxyTlv::authority, "example.org") + tlv(ProxyTlv::alpn, "h2");
    for (std::size_t size = 0; size <= whole.size(); ++size) {
        const bool is_between = size == 0 || size == 14 || size == whole.size();
        const auto parsed = parse(binary_header({.block = v4_block + whole.substr(0, size)}));
        if (is_between) CHECK(parsed);
        if (!is_between) CHECK(parsed.error() == ProxyErrc::extension_truncated);
    }
}

TEST_CASE("the checksum covers all bytes of the header") {
    CHECK(crc32c("123456789") == 0xe306'9283); // the usual check value of CRC-32C
    const auto header = with_checksum(v4_block + tlv(ProxyTlv::alpn, "h2"), tlv(0xee, "x"));
    CHECK(parse(header));
    for (std::size_t index = 16; index < header.size(); ++index) {
        if (index == 29 || index == 30 || index == 33) continue; // other TLVs, or no checksum
        auto changed = header;
        changed[index] = static_cast<char>(changed[index] ^ 0x10);
        CHECK_MESSAGE(!parse(changed), index);
    }
    for (const std::size_t size : {0U, 3U, 5U}) { // even if the first four bytes are right
        auto wrong_size =
            binary_header({.block = v4_block + tlv(ProxyTlv::crc32c, std::string(size, '\0'))});
        const std::uint32_t crc = crc32c(wrong_size);
        const std::string said = big_endian_16(crc >> 16) + big_endian_16(crc & 0xffff);
        const std::size_t set = std::min(size, said.size());
        wrong_size.replace(wrong_size.size() - size, set, said.substr(0, set));
        CHECK(parse(wrong_size).error() == ProxyErrc::checksum_wrong);
    }
}

TEST_CASE("for part of a header the parser asks for more bytes, but never beyond its end") {
    for (const std::string& header : good_headers()) {
        CAPTURE(header);
        auto whole = parse(header + "and what comes after it");
        REQUIRE(whole);
        REQUIRE(whole->header);
        REQUIRE(whole->header->size_bytes == header.size());
        for (std::size_t size = 0; size < header.size(); ++size) {
            auto parsed = parse(header.substr(0, size));
            REQUIRE_MESSAGE(parsed, parsed.error().message());
            CHECK_FALSE(parsed->header);
            CHECK(parsed->least_bytes > size);
            CHECK(parsed->least_bytes <= header.size());
        }
    }
}

TEST_CASE("a header takes few receives") {
    const auto receives_for = [](std::string_view header) {
        int count = 0;
        for (std::size_t have = 0; have < header.size(); ++count) {
            auto parsed = parse(header.substr(0, have));
            REQUIRE(parsed);
            have = parsed->least_bytes;
        }
        return count;
    };
    CHECK(receives_for(binary_header({.block = v4_block})) == 3);
    CHECK(receives_for("PROXY UNKNOWN\r\n") == 1);
    CHECK(receives_for("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n") == 2);
    CHECK(receives_for("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n") <= 7);
    CHECK(receives_for("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n") <= 8);
}

TEST_CASE("random bytes, and headers with random mistakes, are parsed or refused") {
    const auto headers = good_headers();
    int parsed_count = 0;
    std::set<int> errors;
    for (unsigned seed = 0; seed < 100'000; ++seed) {
        std::minstd_rand random(seed + 1);
        std::string text = headers[random() % headers.size()];
        if (seed % 10 == 0) {
            text.resize(random() % 300);
            for (char& letter : text) letter = static_cast<char>(random());
            const std::size_t kept = random() % 20;
            text = headers[random() % headers.size()].substr(0, kept) + text;
        }
        for (std::size_t changes = random() % 3; changes > 0 && !text.empty(); --changes) {
            const std::size_t place = random() % text.size();
            switch (random() % 3) {
            case 0: text[place] = static_cast<char>(random()); break;
            case 1: text.erase(place, 1 + random() % 4); break;
            default: text.insert(place, 1 + random() % 4, static_cast<char>(random()));
            }
        }
        // In memory of exactly this size, so that a sanitizer finds a read beyond it.
        const std::vector<std::byte> memory(bytes_of(text).begin(), bytes_of(text).end());
        const auto parsed = parse_proxy_header(memory);
        if (!parsed) {
            CHECK(&parsed.error().category() == &proxy_error_category());
            errors.insert(parsed.error().value());
        } else if (parsed->header) {
            ++parsed_count;
            CHECK(parsed->header->size_bytes <= memory.size());
            CHECK(parsed->header->source.has_value() == parsed->header->destination.has_value());
            if (parsed->header->source) CHECK(!parsed->header->source->to_string().empty());
            std::size_t extension_bytes = 0;
            for (const ProxyTlv& tlv : parsed->header->tlvs())
                extension_bytes += 3 + tlv.bytes.size();
            CHECK(extension_bytes == parsed->header->extensions.size());
        } else {
            CHECK(parsed->least_bytes > memory.size());
            CHECK(parsed->least_bytes <= ProxyHeader::limit_bytes);
        }
    }
    CHECK(parsed_count > 10'000);
    CHECK(errors.size() == 10); // every error of the parser
}

TEST_CASE("each error of the PROXY protocol has its own message") {
    std::set<std::string> messages;
    for (int code = 1; code <= static_cast<int>(ProxyErrc::source_not_trusted); ++code) {
        const auto message = make_error_code(static_cast<ProxyErrc>(code)).message();
        CHECK(message.find("unknown error") == std::string::npos);
        CHECK(messages.insert(message).second);
    }
    const int next = static_cast<int>(ProxyErrc::source_not_trusted) + 1;
    CHECK(make_error_code(static_cast<ProxyErrc>(next)).message() ==
          "unknown error of the PROXY protocol " + std::to_string(next));
    CHECK(std::string(proxy_error_category().name()) == "ringlet.proxy");
}

// ---- from a stream --------------------------------------------------------------------------------

namespace {

// Everything up to the end of the stream.
Task<Result<std::string>> read_rest(StreamSocket& stream) {
    std::string rest;
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk) co_return chunk.error();
        if (chunk->empty()) co_return rest;
        rest += chunk->text();
    }
}

} // namespace

TEST_CASE("reading a header takes all of it, and no byte after it") {
    for (const std::string& header : good_headers()) {
        CAPTURE(header);
        auto pair = tcp_pair();
        StreamSocket stream(std::move(pair.second));
        auto body = [&]() -> Task<> {
            CHECK(write_all(pair.first.get(), header + "the first bytes of the client"));
            CHECK(::shutdown(pair.first.get(), SHUT_WR) == 0);
            auto received = co_await read_proxy_header(stream);
            CHECK_MESSAGE(received, received.error().message());
            if (received) CHECK(received->size_bytes == header.size());
            auto rest = co_await read_rest(stream);
            CHECK((rest && *rest == "the first bytes of the client"));
        };
        CHECK(run_on_loop(body));
    }
}

TEST_CASE("a stream that ends within a header, or sends another protocol, is an error") {
    struct Row {
        std::string sent;
        std::error_code error;
    };
    const std::vector<Row> rows = {
        {"", Errc::end_of_stream},
        {"P", Errc::message_truncated},
        {"PROXY TCP4 1.2.3.4 5.6", Errc::message_truncated},
        {binary_header({.block = v4_block}).substr(0, 20), Errc::message_truncated},
        {"\n", ProxyErrc::not_a_header},
        {"GET / HTTP/1.1\r\n", ProxyErrc::not_a_header},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", ProxyErrc::line_malformed},
    };
    for (const auto& [sent, error] : rows) {
        CAPTURE(sent);
        auto pair = tcp_pair();
        StreamSocket stream(std::move(pair.second));
        auto body = [&]() -> Task<> {
            CHECK(write_all(pair.first.get(), sent));
            CHECK(::shutdown(pair.first.get(), SHUT_WR) == 0);
            auto received = co_await read_proxy_header(stream);
            CHECK_MESSAGE(received.error() == error, received.error().message());
        };
        CHECK(run_on_loop(body));
    }
}

TEST_CASE("anything but a header is refused at its first byte, without waiting for more") {
    auto pair = tcp_pair();
    StreamSocket stream(std::move(pair.second));
    auto body = [&]() -> Task<> {
        CHECK(write_all(pair.first.get(), "Q"));
        auto received = co_await read_proxy_header(stream, 1h);
        CHECK(received.error() == ProxyErrc::not_a_header);
    };
    CHECK(run_on_loop(body));
}

TEST_CASE("a client that sends no header, or only part of it, times out") {
    for (const std::string_view sent : {"", "PROXY TCP4 1.2"}) {
        auto scenario = [&](Simulation& world) -> Task<> {
            auto [client, server] = world.pair();
            auto done = co_await client.send_all(sent);
            CHECK(done);
            const auto begun = Clock::now();
            auto received = co_await read_proxy_header(server);
            CHECK(received.error() == std::errc::timed_out);
            CHECK(Clock::now() - begun >= 5s);
            CHECK(Clock::now() - begun < 6s);
        };
        const auto report = simulate({.seeds = 20, .faults = FaultSet::none()}, scenario);
        CHECK_MESSAGE(report, report.to_string());
    }
}

// ---- the handler -----------------------------------------------------------------------------------

namespace {

// Answers with the peer that it sees, and with everything that came.
Task<Result<void>> tell_peer(StreamSocket stream) {
    auto peer = stream.peer();
    if (!peer) co_return peer.error();
    auto rest = co_await read_rest(stream);
    if (!rest) co_return rest.error();
    const std::string answer = peer->to_string() + " " + *rest;
    auto sent = co_await stream.send_all(answer);
    co_return sent;
}

Task<> tell_header(TcpStream stream, ProxyHeader header) {
    auto rest = co_await read_rest(stream);
    if (!rest) co_return;
    std::string answer = "version " + std::to_string(header.version) + " " + *rest;
    if (header.source) answer += " from " + header.source->to_string();
    if (header.destination) answer += " to " + header.destination->to_string();
    if (const auto name = header.tlv(ProxyTlv::authority))
        answer.append(" for ").append(name->text());
    auto sent = co_await stream.send_all(answer);
    CHECK(sent);
}

std::string talk(const UniqueFd& client, std::string_view sent) {
    REQUIRE(client);
    if (!sent.empty()) static_cast<void>(write_all(client.get(), sent));
    ::shutdown(client.get(), SHUT_WR);
    return read_up_to(client.get(), 1'000);
}

std::string talk(const Endpoint& server, std::string_view sent) {
    return talk(connect_to(server), sent);
}

} // namespace

TEST_CASE("behind a trusted proxy the peer is the client, and other connections are refused") {
    ProxyOptions proxies{.trusted = {"127.0.0.1"}};
    for (const std::size_t workers : {1U, 2U}) {
        auto options = quiet_options();
        options.workers = workers;
        WorkersThread server(options, with_proxy_protocol(proxies, tell_peer));
        const Endpoint address = server.address();
        CHECK(talk(address, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nhello") ==
              "192.0.2.1:1000 hello");
        CHECK(talk(address, "PROXY TCP6 2001:db8::1 ::1 1000 80\r\nhello") ==
              "[2001:db8::1]:1000 hello");
        CHECK(talk(address, binary_header({.block = v4_block}) + "hello") ==
              "192.0.2.1:4660 hello");
        CHECK(talk(address, binary_header({.family = unix_stream, .block = unix_block("/a", "")}) +
                                "hello") == "unix:/a hello");
        for (const std::string& header :
             {std::string("PROXY UNKNOWN\r\n"), binary_header({.family = 0}),
              binary_header({.command = local_command, .block = v4_block})}) {
            const UniqueFd client = connect_to(address); // keeps its real address
            const std::string expected = address_of(client.get()).to_string() + " hello";
            CHECK(talk(client, header + "hello") == expected);
        }
        CHECK(talk(address, "hello, no header").empty());
        CHECK(talk(address, "").empty());
        server.stop();
        const ServeReport report = server.finish();
        CHECK(report.accepted_count == 9);
        CHECK(report.failed_count == 2);
    }
}

TEST_CASE("an untrusted address is refused, and the report names it") {
    std::vector<std::string> lines;
    ProxyOptions proxies{.trusted = {"10.0.0.0/8", "::1"}};
    proxies.report = [&lines](std::string_view line) { lines.emplace_back(line); };
    ServerThread server(quiet_options(), with_proxy_protocol(proxies, tell_peer));
    CHECK(talk(server.address(), "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nhello").empty());
    CHECK(talk(server.address(), "hello").empty());
    server.stop();
    CHECK(server.finish().failed_count == 2);
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].find("PROXY header of 127.0.0.1:") == 0);
    CHECK(lines[0].find("no trusted proxy") != std::string::npos);
}

TEST_CASE("the report of a wrong header says what is wrong with it") {
    std::vector<std::string> lines;
    ProxyOptions proxies{.trusted = {"127.0.0.1"}, .timeout = 50ms};
    proxies.report = [&lines](std::string_view line) { lines.emplace_back(line); };
    ServerThread server(quiet_options(), with_proxy_protocol(proxies, tell_peer));
    CHECK(talk(server.address(), "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n").empty());
    const UniqueFd silent = connect_to(server.address());
    CHECK(is_ended(silent.get()));
    server.stop();
    CHECK(server.finish().failed_count == 2);
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].find("an address or a port in the line") != std::string::npos);
    CHECK(lines[1].find(std::make_error_code(std::errc::timed_out).message()) != std::string::npos);
}

TEST_CASE("untrusted clients may be served without a header, and none they send is believed") {
    ProxyOptions proxies{.trusted = {"10.0.0.0/8"}, .others = ProxyOptions::Others::serve};
    ServerThread server(quiet_options(), with_proxy_protocol(proxies, tell_peer));
    const std::string header = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n";
    for (const std::string& sent : {std::string("hello"), header + "hello"}) {
        const UniqueFd client = connect_to(server.address());
        const std::string expected = address_of(client.get()).to_string() + " " + sent;
        CHECK(talk(client, sent) == expected);
    }
    server.stop();
    CHECK(server.finish().failed_count == 0);
}

TEST_CASE("a handler that asks for the header gets it, with its TLVs") {
    ProxyOptions proxies{.trusted = {"127.0.0.1"}};
    const auto handler = with_proxy_protocol(proxies, tell_header);
    static_assert(!std::is_invocable_v<decltype(handler)&, UnixStream>); // like tell_header
    ServerThread server(quiet_options(), handler);
    const auto block = v4_block + tlv(ProxyTlv::authority, "example.org");
    CHECK(talk(server.address(), binary_header({.block = block}) + "hello") ==
          "version 2 hello from 192.0.2.1:4660 to 198.51.100.2:443 for example.org");
    CHECK(talk(server.address(), "PROXY UNKNOWN\r\nhello") == "version 1 hello");
    server.stop();
    CHECK(server.finish().failed_count == 0);

    proxies = {.trusted = {}, .others = ProxyOptions::Others::serve};
    ServerThread open(quiet_options(), with_proxy_protocol(proxies, tell_header));
    CHECK(talk(open.address(), "hello") == "version 0 hello");
}

TEST_CASE("a proxy may connect through a Unix socket") {
    const std::string path = "/tmp/ringlet-proxy-test-" + std::to_string(::getpid()) + ".sock";
    auto options = quiet_options();
    options.listen = "unix:" + path;
    ProxyOptions proxies{.trusted = {"unix:"}};
    ServerThread server(options, with_proxy_protocol(proxies, tell_peer));
    CHECK(talk(server.address(), "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nhello") ==
          "192.0.2.1:1000 hello");
    server.stop();
    CHECK(server.finish().failed_count == 0);
}

TEST_CASE("an exception of the handler is passed on") {
    const auto handler = [](StreamSocket stream) -> Task<> {
        auto peer = stream.peer();
        throw std::runtime_error("handler of " + peer->to_string());
        co_return;
    };
    ProxyOptions proxies{.trusted = {"127.0.0.1"}};
    ServerThread server(quiet_options(), with_proxy_protocol(proxies, handler));
    CHECK(talk(server.address(), "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n").empty());
    server.stop();
    server.finish();
    REQUIRE(server.lines().size() == 1);
    CHECK(server.lines()[0].find("handler of 192.0.2.1:1000") != std::string::npos);
}

TEST_CASE("a server that would refuse every client aborts") {
    check_aborts("without a trusted address",
                 [] { static_cast<void>(with_proxy_protocol(ProxyOptions{}, tell_peer)); });
}

// ---- with faults ------------------------------------------------------------------------------------

namespace {

struct Behind {
    std::string header;
    std::string body;
    std::string answer;
    bool has_answered = false;
};

// A client sends a header and a body in pieces; a server behind the adapter answers.
Task<> send_through_proxy(Simulation& world, Behind& behind, const ProxyOptions& proxies) {
    auto [client, server] = world.pair();
    auto handler = with_proxy_protocol(proxies, tell_peer);
    auto serve = [&]() -> Task<Result<void>> {
        Task<Result<void>> handling = handler(std::move(server));
        auto outcome = co_await std::move(handling);
        co_return outcome;
    };
    auto ask = [&]() -> Task<> {
        const std::string all = behind.header + behind.body;
        for (std::size_t sent = 0; sent < all.size();) {
            const std::string piece = all.substr(sent, 1 + world.random(60));
            auto done = co_await client.send_all(piece);
            if (!done) co_return;
            sent += piece.size();
            auto turned = co_await yield();
            if (!turned) co_return;
        }
        auto finished = client.shutdown_write();
        if (!finished) co_return;
        for (;;) {
            auto chunk = co_await client.recv();
            if (!chunk) co_return;
            if (chunk->empty()) break;
            behind.answer += chunk->text();
        }
        behind.has_answered = true;
    };
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(serve);
        co_await ask();
        group.cancel(); // if the client gave up, the server still waits for more
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
}

} // namespace

TEST_CASE("under every fault a handler behind a proxy gets what the client sent, or nothing") {
    const auto headers = good_headers();
    const std::size_t named = named_peers().count();
    int answered = 0;
    auto scenario = [&](Simulation& world) -> Task<> {
        Behind behind;
        behind.header = headers[world.random(headers.size())];
        behind.body = std::string(world.random(3'000), 'b');
        ProxyOptions proxies{.trusted = {"127.0.0.1"}};
        co_await send_through_proxy(world, behind, proxies);
        const auto parsed = parse(behind.header);
        std::string expected = " " + behind.body;
        if (parsed->header->source) expected = parsed->header->source->to_string() + expected;
        world.check(behind.answer.size() <= expected.size() + 30, "more came back than was sent");
        if (world.only_harmless_faults()) {
            world.check(behind.has_answered, "there is no answer");
            world.check(behind.answer.ends_with(expected), "another peer, or other bytes");
            ++answered;
        }
    };
    const auto report = simulate({.seeds = seeds(1000)}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(answered > seeds(100));
    CHECK(named_peers().count() == named);
    CHECK(Buffer::lent_count() == 0);
}

// At any moment: before the header, within it, in the handler.
TEST_CASE("a connection behind a proxy that is cancelled at any moment leaves nothing behind") {
    const std::size_t named = named_peers().count();
    bool was_cut = false;
    bool was_finished = false;
    for (int moment_us = 0; moment_us < 300; ++moment_us) {
        auto scenario = [&](Simulation& world) -> Task<> {
            Behind behind;
            behind.header = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
            behind.body = "hello";
            ProxyOptions proxies{.trusted = {"127.0.0.1"}};
            auto run = [&]() -> Task<> { co_await send_through_proxy(world, behind, proxies); };
            auto ended = co_await with_timeout(std::chrono::microseconds(moment_us), run);
            if (ended) world.check(behind.answer == "192.168.0.1:56324 hello", "another answer");
            (ended ? was_finished : was_cut) = true;
        };
        const auto report = simulate({.first_seed = static_cast<std::uint64_t>(moment_us) + 1,
                                      .seeds = 3,
                                      .faults = FaultSet::harmless()},
                                     scenario);
        CHECK_MESSAGE(report, report.to_string());
    }
    CHECK(was_cut);
    CHECK(was_finished);
    CHECK(named_peers().count() == named);
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("a failed allocation behind a proxy ends one connection, and leaks nothing") {
    const std::size_t named = named_peers().count();
    auto scenario = [&](Simulation& world) -> Task<> {
        Behind behind;
        behind.header = binary_header({.block = v4_block});
        behind.body = "hello";
        ProxyOptions proxies{.trusted = {"127.0.0.1"}};
        try {
            co_await send_through_proxy(world, behind, proxies);
        } catch (const std::bad_alloc&) {
            co_return;
        }
    };
    const auto report =
        simulate({.seeds = 200, .faults = FaultSet{Fault::frame_allocation}}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(named_peers().count() == named);
}
