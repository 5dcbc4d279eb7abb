#include <ringlet/datagram_socket.hpp>

#include "net.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <net/if.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("a datagram arrives whole with its sender, and is answered from the address it came to") {
    for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
        if (address[0] == '[' && !has_ipv6()) continue;
        auto server = DatagramSocket::bind(loopback(address), {.tell_destination = true});
        REQUIRE(server);
        const Endpoint at = server->local().value();
        auto client = DatagramSocket::connect(at);
        REQUIRE(client);
        CHECK(client->peer().value() == at);
        auto talk = [&]() -> Task<> {
            std::vector<std::byte> memory(100);
            auto sent = co_await client->send("question");
            CHECK(sent);
            auto asked = co_await server->recv_from(memory);
            REQUIRE(asked);
            CHECK(text_of(std::span(memory).first(asked->size_bytes)) == "question");
            CHECK(asked->from == client->local().value());
            CHECK_FALSE(asked->truncated);
            REQUIRE(asked->to);
            Endpoint to = *asked->to;
            to.set_port(at.port());
            CHECK(to == at);
            auto answered = co_await server->send_to(bytes_of("answer"), asked->from, *asked->to);
            CHECK(answered);
            auto answer = co_await client->recv_from(memory);
            REQUIRE(answer);
            CHECK(answer->size_bytes == 6);
            CHECK(answer->from == at);
            CHECK_FALSE(answer->to);
            // An empty datagram arrives too.
            auto empty = co_await client->send("");
            CHECK(empty);
            asked = co_await server->recv_from(memory);
            CHECK((asked && asked->size_bytes == 0));
        };
        CHECK(run_on_loop(talk));
    }
}

TEST_CASE("a datagram that is too long is reported to receiver and sender") {
    auto server = DatagramSocket::bind(loopback());
    REQUIRE(server);
    auto client = DatagramSocket::connect(server->local().value());
    REQUIRE(client);
    auto talk = [&]() -> Task<> {
        std::vector<std::byte> memory(4);
        auto sent = co_await client->send("longer");
        CHECK(sent);
        auto received = co_await server->recv_from(memory);
        REQUIRE(received);
        CHECK(received->truncated);
        CHECK(text_of(memory) == "long");
        const std::vector<std::byte> largest(DatagramSocket::largest_bytes);
        auto fits = co_await client->send(largest);
        CHECK(fits);
        const std::vector<std::byte> more(DatagramSocket::largest_bytes + 1);
        auto refused = co_await client->send(more);
        CHECK(refused.error() == std::errc::message_size);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("one system call sends many datagrams, and the receiver joins them") {
    auto server = DatagramSocket::bind(loopback(), {.join_segments = true});
    REQUIRE(server);
    auto client = DatagramSocket::bind(loopback());
    REQUIRE(client);
    const auto bytes = pattern(1050);
    auto talk = [&]() -> Task<> {
        auto sent = co_await client->send_segments_to(bytes, 100, server->local().value());
        if (!sent) co_return; // this device or kernel cannot
        std::vector<std::byte> all;
        std::vector<std::byte> memory(65'536);
        while (all.size() < bytes.size()) {
            auto received = co_await server->recv_from(memory);
            REQUIRE(received);
            if (received->segment_bytes != 0) CHECK(received->segment_bytes == 100);
            all.insert(all.end(), memory.begin(),
                       memory.begin() + static_cast<std::ptrdiff_t>(received->size_bytes));
        }
        CHECK(all == bytes);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a connected socket whose peer is missing gets connection_refused") {
    Endpoint nobody;
    {
        auto gone = DatagramSocket::bind(loopback());
        REQUIRE(gone);
        nobody = gone->local().value();
    }
    auto client = DatagramSocket::connect(nobody);
    REQUIRE(client);
    auto talk = [&]() -> Task<> {
        auto sent = co_await client->send("anybody?");
        CHECK(sent);
        std::vector<std::byte> memory(10);
        auto received = co_await client->recv_from(memory);
        CHECK(received.error() == std::errc::connection_refused);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a member of a multicast group receives what is sent to the group") {
    auto group = Endpoint::parse("239.255.77.77:0").value();
    auto member = DatagramSocket::bind(Endpoint::parse("0.0.0.0:0").value(), {.reuse_port = true});
    REQUIRE(member);
    const unsigned lo = ::if_nametoindex("lo");
    if (!member->join_group(group, lo)) RINGLET_SKIP("no multicast on the loopback device");
    group.set_port(member->local().value().port());
    auto sender = DatagramSocket::bind(loopback());
    REQUIRE(sender);
    auto talk = [&]() -> Task<> {
        std::vector<std::byte> memory(10);
        auto sent = co_await sender->send_to("to all", group);
        CHECK(sent);
        auto received = co_await with_timeout(1s, member->recv_from(memory));
        CHECK((received && received->size_bytes == 6));
        CHECK(member->leave_group(group, lo));
    };
    CHECK(run_on_loop(talk));
    CHECK(member->join_group(loopback(), lo).error() == std::errc::invalid_argument);
}

TEST_CASE("Unix datagrams") {
    char name[] = "/tmp/ringlet-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    const std::string folder = name;
    const Endpoint at = Endpoint::parse("unix:" + folder + "/server").value();
    const Endpoint from = Endpoint::parse("unix:" + folder + "/client").value();
    {
        auto server = DatagramSocket::bind(at);
        auto client = DatagramSocket::bind(from);
        REQUIRE(server);
        REQUIRE(client);
        auto talk = [&]() -> Task<> {
            auto sent = co_await client->send_to("question", at);
            CHECK(sent);
            std::vector<std::byte> memory(100);
            auto asked = co_await server->recv_from(memory);
            REQUIRE(asked);
            CHECK(asked->from == from);
            auto answered = co_await server->send_to("answer", asked->from);
            CHECK(answered);
            auto answer = co_await client->recv_from(memory);
            CHECK((answer && answer->size_bytes == 6));
        };
        CHECK(run_on_loop(talk));
        auto nobody = DatagramSocket::connect(Endpoint::parse("unix:" + folder + "/none").value());
        CHECK(nobody.error() == std::errc::no_such_file_or_directory);
    }
    std::filesystem::remove_all(folder);
}

TEST_CASE("errors of binding are returned") {
    auto taken = DatagramSocket::bind(loopback());
    REQUIRE(taken);
    CHECK(DatagramSocket::bind(taken->local().value()).error() == std::errc::address_in_use);
    CHECK(DatagramSocket::bind(loopback("203.0.113.7:1")).error() ==
          std::errc::address_not_available);
}
