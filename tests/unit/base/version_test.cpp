#include "support.hpp"

#include <ringlet/version.hpp>

#include <charconv>
#include <string_view>

TEST_CASE("version is three numbers with dots") {
    const std::string_view version = RINGLET_VERSION;
    const char* position = version.data();
    const char* end = position + version.size();
    for (int part = 0; part < 3; ++part) {
        CAPTURE(part);
        unsigned number = 0;
        const auto [rest, failure] = std::from_chars(position, end, number);
        REQUIRE(failure == std::errc{});
        position = rest;
        if (part == 2) break;
        REQUIRE(position != end);
        CHECK(*position == '.');
        ++position;
    }
    CHECK(position == end);
}
