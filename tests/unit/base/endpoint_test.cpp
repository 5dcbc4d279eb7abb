#include "support.hpp"

#include <ringlet/endpoint.hpp>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

using namespace ringlet;

TEST_CASE("Endpoint parses numeric addresses of both families") {
    struct Row {
        std::string_view text;
        int family;
        std::uint16_t port;
        std::string_view printed;
    };
    const std::vector<Row> rows = {
        {"127.0.0.1:3200", AF_INET, 3200, "127.0.0.1:3200"},
        {"0.0.0.0:0", AF_INET, 0, "0.0.0.0:0"},
        {"255.255.255.255:65535", AF_INET, 65535, "255.255.255.255:65535"},
        {"[::1]:3200", AF_INET6, 3200, "[::1]:3200"},
        {"[::]:0", AF_INET6, 0, "[::]:0"},
        {"[2001:db8:0:0:0:0:0:1]:80", AF_INET6, 80, "[2001:db8::1]:80"},
        {"[2001:DB8::A]:80", AF_INET6, 80, "[2001:db8::a]:80"},
        {"[::ffff:10.0.0.1]:80", AF_INET6, 80, "[::ffff:10.0.0.1]:80"},
    };
    for (const auto& row : rows) {
        CAPTURE(row.text);
        const auto endpoint = Endpoint::parse(row.text);
        REQUIRE(endpoint);
        CHECK(endpoint->family() == row.family);
        CHECK(endpoint->is_v6() == (row.family == AF_INET6));
        CHECK(endpoint->port() == row.port);
        CHECK(endpoint->to_string() == row.printed);

        const auto again = Endpoint::parse(endpoint->to_string());
        REQUIRE(again);
        CHECK(*again == *endpoint);
    }
}

TEST_CASE("Endpoint refuses malformed text") {
    const std::vector<std::string_view> rows = {
        "",
        ":",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999999999999",
        "127.0.0.1:-1",
        "127.0.0.1:+80",
        "127.0.0.1: 80",
        "127.0.0.1:80 ",
        " 127.0.0.1:80",
        "127.0.0.1:80x",
        "127.0.0.1:0x50",
        "127.0.0.1:http",
        "127.0.0:80",
        "127.1:80",
        "127.0.0.256:80",
        "127.0.0.1.1:80",
        "localhost:80",
        "[]:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "::1]:80",
        "::1:80",
        "2001:db8::1:80",
        "[::1]:",
        "[::g]:80",
        "[1::2::3]:80",
        "[[::1]]:80",
    };
    for (const auto text : rows) {
        CAPTURE(text);
        const auto endpoint = Endpoint::parse(text);
        REQUIRE_FALSE(endpoint);
        CHECK(endpoint.error() == Errc::invalid_endpoint);
    }
}

TEST_CASE("Endpoint defaults to every interface and a free port") {
    const Endpoint endpoint;
    CHECK(endpoint.to_string() == "0.0.0.0:0");
    CHECK_FALSE(endpoint.is_v6());
}

TEST_CASE("Endpoint set_port changes only the port") {
    for (const std::string_view text : {"127.0.0.1:1", "[::1]:1"}) {
        auto endpoint = Endpoint::parse(text);
        REQUIRE(endpoint);
        const auto before = endpoint->to_string();
        endpoint->set_port(0x1234);
        CHECK(endpoint->port() == 0x1234);
        CHECK(endpoint->to_string() == before.substr(0, before.size() - 1) + "4660");
    }
}

TEST_CASE("Endpoint equality compares family and address and port") {
    const auto parse = [](std::string_view text) {
        auto endpoint = Endpoint::parse(text);
        REQUIRE(endpoint);
        return *endpoint;
    };
    CHECK(parse("127.0.0.1:80") == parse("127.0.0.1:80"));
    CHECK(parse("[::1]:80") == parse("[0:0::1]:80"));
    CHECK_FALSE(parse("127.0.0.1:80") == parse("127.0.0.1:81"));
    CHECK_FALSE(parse("127.0.0.1:80") == parse("127.0.0.2:80"));
    CHECK_FALSE(parse("[::1]:80") == parse("[::2]:80"));
    CHECK_FALSE(parse("[::1]:80") == parse("[::1]:81"));
    CHECK_FALSE(parse("0.0.0.0:80") == parse("[::]:80"));
}

TEST_CASE("Endpoint matches the address that the kernel returns") {
    for (const std::string_view text : {"127.0.0.1:0", "[::1]:0"}) {
        CAPTURE(text);
        const auto wanted = Endpoint::parse(text);
        REQUIRE(wanted);
        const UniqueFd socket(::socket(wanted->family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (!socket) continue; // this machine lacks the family
        if (::bind(socket.get(), wanted->data(), wanted->size_bytes()) != 0) {
            CHECK(wanted->is_v6()); // a container without IPv6
            continue;
        }
        sockaddr_storage address{};
        // The bytes behind an address are not part of it.
        std::memset(&address, 0xff, sizeof address);
        socklen_t size = sizeof address;
        REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
        CHECK(size == wanted->size_bytes());

        const Endpoint bound = Endpoint::from_sockaddr(address);
        CHECK(bound.port() != 0);
        CHECK(bound.family() == wanted->family());
        auto expected = *wanted;
        expected.set_port(bound.port());
        CHECK(bound == expected);
        CHECK(bound.to_string() == expected.to_string());
    }
}

TEST_CASE("Endpoint resolves names and numbers") {
    const auto local = Endpoint::resolve("localhost", 3200);
    REQUIRE(local);
    CHECK(local->port() == 3200);
    const auto text = local->to_string();
    CHECK_MESSAGE((text == "127.0.0.1:3200" || text == "[::1]:3200"), text);

    const auto together = Endpoint::resolve("localhost:3200");
    REQUIRE(together);
    CHECK(*together == *local);

    for (const std::string_view numbers : {"127.0.0.2:81", "[::1]:81"}) {
        const auto resolved = Endpoint::resolve(numbers);
        REQUIRE(resolved);
        CHECK(resolved->to_string() == numbers);
    }
}

TEST_CASE("Endpoint keeps the interface of a link-local address") {
    for (const char* text : {"[fe80::1%lo]:80", "[fe80::1%4294967290]:80"}) {
        auto resolved = Endpoint::resolve(text);
        REQUIRE(resolved);
        CHECK(resolved->to_string() == text);
    }
}

TEST_CASE("Endpoint reports why it cannot be resolved") {
    // A name that ends with .invalid never exists (RFC 6761).
    const auto unknown = Endpoint::resolve("no-such-host.invalid:80");
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error() == Errc::unknown_host);
    const auto no_name = Endpoint::resolve("", 80);
    REQUIRE_FALSE(no_name);
    CHECK(no_name.error() == Errc::unknown_host);
    for (const std::string_view text : {"localhost", "localhost:", "localhost:65536", ":80"}) {
        CAPTURE(text);
        const auto bad_form = Endpoint::resolve(text);
        REQUIRE_FALSE(bad_form);
        CHECK(bad_form.error() == Errc::invalid_endpoint);
    }
}

TEST_CASE("Endpoint refuses a host with a zero byte, which C would take for its end") {
    using namespace std::string_view_literals;
    CHECK(Endpoint::parse("127.0.0.1\0evil:80"sv).error() == Errc::invalid_endpoint);
    CHECK(Endpoint::resolve("127.0.0.1\0evil"sv, 80).error() == Errc::unknown_host);
}

TEST_CASE("Endpoint parses and prints the names of Unix sockets") {
    for (const std::string text : {"unix:/run/echo.sock", "unix:relative", "unix:@abstract",
                                   "unix:@"
                                   "a:b"}) {
        const auto endpoint = Endpoint::parse(text);
        REQUIRE(endpoint);
        CHECK(endpoint->is_unix());
        CHECK(endpoint->family() == AF_UNIX);
        CHECK(endpoint->port() == 0);
        CHECK(endpoint->to_string() == text);
        CHECK(*endpoint == *Endpoint::parse(text));
        sockaddr_storage copy{};
        std::memcpy(&copy, endpoint->data(), endpoint->size_bytes());
        CHECK(Endpoint::from_sockaddr(copy, endpoint->size_bytes()) == *endpoint);
        CHECK(Endpoint::from_sockaddr(copy) == *endpoint);
    }
    CHECK(Endpoint::parse("unix:/run/x")->path() == "/run/x");
    CHECK(Endpoint::parse("unix:@x")->path().empty());
    CHECK_FALSE(*Endpoint::parse("unix:/x") == *Endpoint::parse("unix:@x"));
    CHECK(Endpoint::parse("unix:").error() == Errc::invalid_endpoint);
    CHECK(Endpoint::parse("unix:@").error() == Errc::invalid_endpoint);
    CHECK(Endpoint::parse(std::string_view("unix:/a\0b", 9)).error() == Errc::invalid_endpoint);
    const std::string longest(107, 'x');
    CHECK(Endpoint::parse("unix:" + longest)->to_string() == "unix:" + longest);
    CHECK(Endpoint::parse("unix:" + longest + "x").error() == std::errc::filename_too_long);
}

TEST_CASE("Endpoint knows the zone of an address, by name and by number") {
    const auto named = Endpoint::parse("[fe80::1%lo]:80");
    REQUIRE(named);
    CHECK(named->to_string() == "[fe80::1%lo]:80");
    const auto numbered = Endpoint::parse("[fe80::1%1]:80"); // lo is interface 1 everywhere
    REQUIRE(numbered);
    CHECK(*named == *numbered);
    CHECK_FALSE(*named == *Endpoint::parse("[fe80::1]:80"));
    CHECK_FALSE(*named == *Endpoint::parse("[fe80::1%7]:80"));
    CHECK(Endpoint::parse("[fe80::1%nowhere]:80").error() == std::errc::no_such_device);
    CHECK(Endpoint::parse("[fe80::1%]:80").error() == Errc::invalid_endpoint);
}
