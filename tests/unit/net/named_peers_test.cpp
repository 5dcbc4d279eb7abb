#include "net/named_peers.hpp"

#include "net.hpp"

#include <optional>
#include <thread>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("the peer of a stream is the last one set, until the connection ends") {
    const std::size_t before = named_peers().count();
    auto pair = tcp_pair();
    const Endpoint client = address_of(pair.first.get());
    {
        StreamSocket stream(std::move(pair.second));
        CHECK(*stream.peer() == client);
        CHECK(named_peers().count() == before);
        stream.set_peer(loopback("192.0.2.1:1234"));
        CHECK(*stream.peer() == loopback("192.0.2.1:1234"));
        StreamSocket moved = std::move(stream);
        moved.set_peer(loopback("[2001:db8::1]:80"));
        CHECK(*moved.peer() == loopback("[2001:db8::1]:80"));
        CHECK(named_peers().count() == before + 1);
        ::close(pair.first.release());
        CHECK(*moved.peer() == loopback("[2001:db8::1]:80")); // whatever happens to the proxy
    }
    CHECK(named_peers().count() == before);
}

TEST_CASE("a named peer is removed with its socket on any thread, and the next socket has none") {
    const std::size_t before = named_peers().count();
    for (int round = 0; round < 3; ++round) { // a socket's memory is reused
        auto pair = tcp_pair();
        std::optional<StreamSocket> stream(StreamSocket(std::move(pair.second)));
        CHECK(*stream->peer() == address_of(pair.first.get()));
        stream->set_peer(loopback("192.0.2.1:1234"));
        if (round == 0) {
            std::thread([&] { stream.reset(); }).join();
        } else if (round == 1) {
            stream->abort();
        } else {
            auto closing = [&]() -> Task<> {
                auto closed = co_await stream->close();
                CHECK(closed);
            };
            CHECK(run_on_loop(closing));
        }
        CHECK(named_peers().count() == before);
    }
}
