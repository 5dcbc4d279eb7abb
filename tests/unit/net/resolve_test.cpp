#include <ringlet/resolve.hpp>

#include "net.hpp"

#include <algorithm>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("resolve returns every address once, and needs no lookup for numeric addresses") {
    auto talk = []() -> Task<> {
        auto found = co_await resolve("localhost:80");
        REQUIRE(found);
        const auto v4 = loopback("127.0.0.1:80");
        CHECK(std::count(found->begin(), found->end(), v4) == 1);
        auto number = co_await resolve("[::1]:7");
        REQUIRE(number);
        CHECK(*number == std::vector<Endpoint>{loopback("[::1]:7")});
        auto path = co_await resolve("unix:/run/x");
        REQUIRE(path);
        CHECK(path->front().path() == "/run/x");
        auto unknown = co_await resolve("no-such-host.invalid:80");
        CHECK(unknown.error() == Errc::unknown_host);
        auto malformed = co_await resolve("localhost");
        CHECK(malformed.error() == Errc::invalid_endpoint);
    };
    CHECK(run_on_loop(talk));
}
