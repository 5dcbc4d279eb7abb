#include <ringlet/address_range.hpp>

#include "death.hpp"
#include "net.hpp"

#include <string_view>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("AddressRange contains exactly the addresses with its prefix") {
    struct Row {
        std::string_view range;
        std::string_view endpoint;
        bool contains;
    };
    const std::vector<Row> rows = {
        {"127.0.0.1", "127.0.0.1:80", true},
        {"127.0.0.1", "127.0.0.2:80", false},
        {"10.0.0.0/8", "10.255.255.255:1", true},
        {"10.0.0.0/8", "11.0.0.0:1", false},
        {"10.0.0.0/8", "9.255.255.255:1", false},
        {"192.168.4.0/22", "192.168.7.255:1", true},
        {"192.168.4.0/22", "192.168.8.0:1", false},
        {"192.168.4.0/22", "192.168.3.255:1", false},
        {"1.2.3.4/32", "1.2.3.4:0", true},
        {"1.2.3.4/32", "1.2.3.5:0", false},
        {"0.0.0.0/0", "255.1.2.3:9", true},
        {"0.0.0.0/1", "128.0.0.0:9", false},
        {"::1", "[::1]:80", true},
        {"::1", "[::2]:80", false},
        {"fd00::/8", "[fdff:1::2]:80", true},
        {"fd00::/8", "[fe00::1]:80", false},
        {"2001:db8::/33", "[2001:db8:7fff::1]:80", true},
        {"2001:db8::/33", "[2001:db8:8000::1]:80", false},
        {"fe80::/10", "[fe80::1%1]:80", true},
        {"::/0", "[ffff::1]:80", true},
        // Families never match each other, except for IPv4 through an IPv6 socket.
        {"0.0.0.0/0", "[::1]:80", false},
        {"::/0", "127.0.0.1:80", false},
        {"10.0.0.0/8", "[::ffff:10.0.0.1]:80", true},
        {"10.0.0.0/8", "[::ffff:11.0.0.1]:80", false},
        {"::/0", "[::ffff:10.0.0.1]:80", false},
        {"::ffff:10.0.0.0/104", "10.1.2.3:80", true},
        {"::ffff:10.0.0.0/104", "[::ffff:10.0.0.1]:80", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3:80", false},
        {"unix:", "unix:/run/app.sock", true},
        {"unix:", "unix:@name", true},
        {"unix:", "127.0.0.1:80", false},
        {"0.0.0.0/0", "unix:/run/app.sock", false},
        {"::/0", "unix:/run/app.sock", false},
    };
    for (const auto& [text, address, contains] : rows) {
        CAPTURE(text);
        CAPTURE(address);
        const auto range = AddressRange::parse(text);
        REQUIRE(range);
        CHECK(range->contains(loopback(address)) == contains);
    }
}

TEST_CASE("AddressRange 'unix:' contains Unix sockets without a name") {
    const auto range = AddressRange::parse("unix:");
    REQUIRE(range);
    sockaddr_storage unnamed{};
    unnamed.ss_family = AF_UNIX;
    CHECK(range->contains(Endpoint::from_sockaddr(unnamed, sizeof(sa_family_t))));
}

TEST_CASE("AddressRange refuses malformed text") {
    using namespace std::string_view_literals;
    const std::vector<std::string_view> rows = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/8 ",
        " 10.0.0.0/8",
        "10.0.0.0/8/8",
        "10.0.0.0/99999999999",
        "10.0.0/8",
        "10/8",
        "010.0.0.0/8",
        "10.0.0.0:80",
        "10.0.0.1/8",
        "0.0.0.1/0",
        "::/129",
        "::1/127",
        "fd00::1/8",
        "[::1]",
        "fe80::1%eth0",
        "localhost",
        "unix:/run/app.sock",
        "unix",
        "10.0.0.0\0/8"sv,
    };
    for (const auto text : rows) {
        CAPTURE(text);
        CHECK(AddressRange::parse(text).error() == Errc::invalid_range);
    }
}

TEST_CASE("AddressRange prints the shortest form of what it was parsed from") {
    for (const std::string_view text :
         {"127.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "fd00::/8", "::/0", "unix:"}) {
        const auto range = AddressRange::parse(text);
        REQUIRE(range);
        CHECK(range->to_string() == text);
    }
    CHECK(AddressRange("::ffff:10.0.0.0/104").to_string() == "10.0.0.0/8");
    CHECK(AddressRange("10.0.0.0/32").to_string() == "10.0.0.0");
    CHECK(AddressRange("10.0.0.0/8") == AddressRange("::ffff:10.0.0.0/104"));
    CHECK_FALSE(AddressRange("10.0.0.0/8") == AddressRange("10.0.0.0/9"));
}

TEST_CASE("AddressRange converts from literals, and an invalid one aborts with its text") {
    const std::vector<AddressRange> list = {"127.0.0.1", "10.0.0.0/8", "::1"};
    REQUIRE(list.size() == 3);
    CHECK(list[1].contains(loopback("10.1.1.1:1")));
    check_aborts("'10.0.0.1/8' is not a range of addresses",
                 [] { static_cast<void>(AddressRange("10.0.0.1/8")); });
}
