// What a `DatagramSocket` promises: the same cases over IPv4, IPv6 and Unix sockets, on the kernel that the environment
// names, and in the simulation with faults that lose nothing.

#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// Addresses of one kind, and the folder for Unix sockets.
class Place {
public:
    explicit Place(std::string kind) : kind_(std::move(kind)) {
        if (kind_ != "unix") return;
        char name[] = "/tmp/ringlet-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        folder_ = name;
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
        if (!folder_.empty()) std::filesystem::remove_all(folder_);
    }

    Endpoint next() {
        if (kind_ != "unix") return loopback(kind_);
        return Endpoint::parse("unix:" + folder_ + "/" + std::to_string(++count_)).value();
    }
    [[nodiscard]] bool is_unix() const { return kind_ == "unix"; }

private:
    std::string kind_;
    std::string folder_;
    int count_ = 0;
};

DatagramSocket bound(const Endpoint& at, const DatagramOptions& options = {}) {
    auto socket = DatagramSocket::bind(at, options);
    REQUIRE(socket);
    return std::move(*socket);
}

// ---- the cases ----------------------------------------------------------------------------------

Task<> arrives_whole_and_is_answered(Place& place) {
    auto server = bound(place.next());
    auto client = bound(place.next());
    const Endpoint at = server.local().value();
    std::vector<std::byte> memory(100);
    auto sent = co_await client.send_to("question", at);
    CHECK(sent);
    auto asked = co_await server.recv_from(memory);
    REQUIRE(asked);
    CHECK(text_of(std::span(memory).first(asked->size_bytes)) == "question");
    CHECK(asked->from == client.local().value());
    CHECK_FALSE(asked->truncated);
    CHECK_FALSE(asked->to);
    auto answered = co_await server.send_to("answer", asked->from);
    CHECK(answered);
    auto answer = co_await client.recv_from(memory);
    REQUIRE(answer);
    CHECK(text_of(std::span(memory).first(answer->size_bytes)) == "answer");
    CHECK(answer->from == at);
}

Task<> one_without_bytes_is_one(Place& place) {
    auto server = bound(place.next());
    auto client = bound(place.next());
    auto sent = co_await client.send_to("", server.local().value());
    CHECK(sent);
    std::vector<std::byte> memory(1);
    auto asked = co_await server.recv_from(memory);
    CHECK((asked && asked->size_bytes == 0 && !asked->truncated));
}

Task<> what_is_too_long_is_told(Place& place) {
    auto server = bound(place.next());
    auto client = bound(place.next());
    const Endpoint at = server.local().value();
    std::vector<std::byte> memory(4);
    auto sent = co_await client.send_to("longer", at);
    CHECK(sent);
    auto received = co_await server.recv_from(memory);
    REQUIRE(received);
    CHECK(received->truncated);
    CHECK(text_of(memory) == "long");
    if (place.is_unix()) co_return;
    const std::vector<std::byte> more(DatagramSocket::largest_bytes + 50);
    auto refused = co_await client.send_to(std::span(more), at);
    CHECK(refused.error() == std::errc::message_size);
}

// A connected socket receives only from its peer.
Task<> a_connected_one_hears_of_its_peer_alone(Place& place) {
    auto server = bound(place.next());
    auto other = bound(place.next());
    const Endpoint at = server.local().value();
    auto client = DatagramSocket::connect(at);
    REQUIRE(client);
    CHECK(client->peer().value() == at);
    std::vector<std::byte> memory(10);
    auto sent = co_await client->send("here");
    CHECK(sent);
    auto asked = co_await server.recv_from(memory);
    REQUIRE(asked);
    if (place.is_unix()) co_return; // the client has no name to send to
    CHECK(asked->from == client->local().value());
    auto strange = co_await other.send_to("strange", asked->from);
    CHECK(strange);
    auto answered = co_await server.send_to("answer", asked->from);
    CHECK(answered);
    auto answer = co_await client->recv_from(memory);
    CHECK((answer && answer->size_bytes == 6 && answer->from == at));
}

Task<> a_burst_is_taken_without_a_wait_each(Place& place) {
    auto server = bound(place.next());
    auto client = bound(place.next());
    const Endpoint at = server.local().value();
    for (int i = 0; i < 10; ++i) {
        auto sent = co_await client.send_to(std::to_string(i), at);
        CHECK(sent);
    }
    auto slept = co_await sleep_for(20ms); // by then all have arrived
    CHECK(slept);
    std::vector<std::byte> memory(100);
    std::string got;
    for (;;) {
        auto next = server.try_recv_from(memory);
        REQUIRE(next);
        if (!*next) break;
        got += text_of(std::span(memory).first((*next)->size_bytes));
    }
    CHECK(got == "0123456789");
    auto none = co_await with_timeout(5ms, server.recv_from(memory));
    CHECK(none.error() == std::errc::timed_out);
}

// A cancelled receive takes no datagram.
Task<> a_cancellation_loses_nothing(Place& place) {
    auto server = bound(place.next());
    auto client = bound(place.next());
    const Endpoint at = server.local().value();
    std::vector<std::byte> memory(10);
    std::string got;
    int sent_count = 0;
    auto send = [&]() -> Task<> {
        for (; sent_count < 20; ++sent_count) {
            auto sent =
                co_await client.send_to(std::string(1, static_cast<char>('a' + sent_count)), at);
            CHECK(sent);
            auto slept = co_await sleep_for(1ms);
            CHECK(slept);
        }
    };
    auto receive = [&]() -> Task<> {
        while (got.size() < 20) {
            auto received = co_await with_timeout(700us, server.recv_from(memory));
            if (received) got += text_of(std::span(memory).first(received->size_bytes));
            if (!received) CHECK(received.error() == std::errc::timed_out);
        }
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(send);
        group.spawn(receive);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
    CHECK(got == "abcdefghijklmnopqrst");
}

Task<> one_that_is_closed_says_so(Place& place) {
    auto server = bound(place.next());
    auto client = bound(place.next());
    std::vector<std::byte> memory(10);
    Result<ReceivedDatagram> received = std::errc::not_connected;
    auto wait = [&]() -> Task<> {
        auto ended = co_await server.recv_from(memory);
        received = std::move(ended);
    };
    auto close = [&]() -> Task<> {
        auto slept = co_await sleep_for(1ms);
        CHECK(slept);
        auto closed_server = co_await server.close();
        static_cast<void>(closed_server);
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(wait);
        group.spawn(close);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
    CHECK(received.error() == std::errc::operation_canceled);
    CHECK_FALSE(server);
}

using Case = Task<> (*)(Place&);

void check(Case run_case) {
    for (const char* kind : {"127.0.0.1:0", "[::1]:0", "unix"}) {
        if (kind[0] == '[' && !has_ipv6()) continue;
        CAPTURE(kind);
        {
            Place place(kind);
            CHECK(run_on_loop([&] { return run_case(place); }));
        }
        auto scenario = [&](Simulation&) -> Task<> {
            Place place(kind);
            co_await run_case(place);
        };
        const auto report = simulate({.seeds = 30, .faults = FaultSet::harmless()}, scenario);
        CHECK_MESSAGE(report, report.to_string());
    }
}

} // namespace

TEST_CASE("a datagram arrives whole, with its sender, and is answered") {
    check(arrives_whole_and_is_answered);
}

TEST_CASE("an empty datagram is received as one") { check(one_without_bytes_is_one); }

TEST_CASE("a datagram that is too long is reported to receiver and sender") {
    check(what_is_too_long_is_told);
}

TEST_CASE("a connected datagram socket receives only from its peer") {
    check(a_connected_one_hears_of_its_peer_alone);
}

TEST_CASE("try_recv_from takes a whole burst, and a receive on a quiet socket times out") {
    check(a_burst_is_taken_without_a_wait_each);
}

TEST_CASE("a cancelled receive takes no datagram") { check(a_cancellation_loses_nothing); }

TEST_CASE("closing a socket ends the receive that waits on it") {
    check(one_that_is_closed_says_so);
}

// ---- in the simulation, with datagrams that are lost, doubled or late --------------------------------

namespace {

std::uint64_t struck(const Simulation& world, Fault fault) {
    return world.faults()[static_cast<std::size_t>(fault)];
}

/// Sends twenty numbered datagrams, and returns the numbers that arrive.
Task<std::vector<int>> arrivals_of_twenty() {
    auto server = DatagramSocket::bind(loopback());
    REQUIRE(server);
    auto client = DatagramSocket::connect(server->local().value());
    REQUIRE(client);
    for (int i = 0; i < 20; ++i) {
        auto sent = co_await client->send(std::to_string(i));
        CHECK(sent);
    }
    auto slept = co_await sleep_for(1s);
    CHECK(slept);
    std::vector<int> arrived;
    std::vector<std::byte> memory(10);
    for (;;) {
        auto next = server->try_recv_from(memory);
        REQUIRE(next);
        if (!*next) co_return arrived;
        arrived.push_back(std::stoi(text_of(std::span(memory).first((*next)->size_bytes))));
    }
}

/// Runs 200 seeds with this fault. `judge` checks what arrived in each; some must have had the fault.
template <class Judge>
void with_fault(Fault fault, Judge judge) {
    std::uint64_t seen = 0;
    auto scenario = [&](Simulation& world) -> Task<> {
        auto arrived = co_await arrivals_of_twenty();
        const std::uint64_t count = struck(world, fault);
        seen += count;
        world.check(judge(arrived, count), "what arrived does not fit what happened");
    };
    const auto report = simulate({.seeds = 200, .faults = FaultSet{fault}}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(seen > 0);
}

} // namespace

TEST_CASE("lost_datagram: each fault loses one datagram, and the rest arrive in order") {
    with_fault(Fault::lost_datagram, [](const std::vector<int>& arrived, std::uint64_t count) {
        return arrived.size() == 20 - count && std::ranges::is_sorted(arrived);
    });
}

TEST_CASE("doubled_datagram: each fault adds one datagram, and none is missing") {
    with_fault(Fault::doubled_datagram, [](const std::vector<int>& arrived, std::uint64_t count) {
        return arrived.size() == 20 + count &&
               std::set<int>(arrived.begin(), arrived.end()).size() == 20;
    });
}

TEST_CASE("late_datagram: all arrive, and a late one may be overtaken") {
    bool overtaken = false;
    with_fault(Fault::late_datagram, [&](const std::vector<int>& arrived, std::uint64_t count) {
        const bool sorted = std::ranges::is_sorted(arrived);
        overtaken |= !sorted;
        return arrived.size() == 20 && (count > 0 || sorted);
    });
    CHECK(overtaken);
}

TEST_CASE("a client that repeats its question gets an answer under every fault") {
    auto answer = [](DatagramSocket& server) -> Task<> {
        std::vector<std::byte> memory(100);
        for (;;) {
            auto asked = co_await server.recv_from(memory);
            if (asked.error() == std::errc::operation_canceled) co_return;
            if (!asked) continue; // no memory: the client asks again
            const std::string text = text_of(std::span(memory).first(asked->size_bytes));
            auto answered = co_await server.send_to(std::as_bytes(std::span(text)), asked->from);
            if (answered.error() == std::errc::operation_canceled) co_return;
        }
    };
    auto scenario = [&](Simulation& world) -> Task<> {
        auto server = DatagramSocket::bind(loopback());
        auto client = server ? DatagramSocket::connect(server->local().value()) : server.error();
        if (!server || !client) co_return; // too many files
        auto ask = [&](TaskGroup& group) -> Task<> {
            group.spawn([&] { return answer(*server); });
            for (int i = 0; i < 20; ++i) {
                const std::string question = std::to_string(i);
                bool answered = false;
                for (int tries = 0; tries < 100 && !answered; ++tries) {
                    auto sent = co_await client->send(question);
                    if (!sent) continue;
                    std::vector<std::byte> memory(100);
                    for (;;) {
                        auto received = co_await with_timeout(100ms, client->recv_from(memory));
                        if (!received) break;
                        // The answer to an earlier question may come late.
                        answered =
                            text_of(std::span(memory).first(received->size_bytes)) == question;
                        if (answered) break;
                    }
                }
                world.check(answered, "a question was never answered");
            }
            group.cancel();
        };
        auto done = co_await with_task_group(ask);
        static_cast<void>(done);
    };
    const auto faults = FaultSet::all().without(Fault::frame_allocation);
    const auto report = simulate({.seeds = 300, .faults = faults}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}

TEST_CASE("simulated datagrams: destinations, segments, full queues, no receiver") {
    auto scenario = [](Simulation& world) -> Task<> {
        const DatagramOptions tells{.tell_destination = true};
        for (const char* any : {"0.0.0.0:0", "[::]:0"}) {
            auto server = DatagramSocket::bind(loopback(any), tells);
            auto client = DatagramSocket::bind(loopback(any));
            REQUIRE(server);
            REQUIRE(client);
            const Endpoint at = server->local().value(); // of any address: this machine's
            std::vector<std::byte> memory(100);
            auto sent = co_await client->send_segments_to(bytes_of("aabbc"), 2, at);
            CHECK(sent);
            std::string got;
            for (int i = 0; i < 3; ++i) {
                auto asked = co_await server->recv_from(memory);
                REQUIRE(asked);
                REQUIRE(asked->to);
                CHECK(asked->to->to_string() == (at.is_v6() ? "[::1]:0" : "127.0.0.1:0"));
                got += text_of(std::span(memory).first(asked->size_bytes)) + ",";
                auto answered = co_await server->send_to(bytes_of("x"), asked->from, *asked->to);
                CHECK(answered);
            }
            CHECK(got == "aa,bb,c,");
            // Datagrams that do not fit into the receiver's queue are lost, and counted.
            const std::vector<std::byte> large(60'000);
            for (int i = 0; i < 5; ++i) {
                sent = co_await client->send_to(std::span(large), at);
                CHECK(sent);
            }
            auto slept = co_await sleep_for(1s);
            CHECK(slept);
            CHECK(struck(world, Fault::lost_datagram) == (at.is_v6() ? 4U : 2U));
            CHECK(server->join_group(loopback("239.1.1.1:0")).error() ==
                  std::errc::operation_not_supported);
        }
        Endpoint nobody = loopback();
        nobody.set_port(9);
        auto client = DatagramSocket::connect(nobody);
        REQUIRE(client);
        auto sent = co_await client->send("anybody?");
        CHECK(sent);
        std::vector<std::byte> memory(10);
        auto received = co_await client->recv_from(memory);
        CHECK(received.error() == std::errc::connection_refused);
        auto unbound = DatagramSocket::bind(loopback());
        REQUIRE(unbound);
        sent = co_await unbound->send("to nobody");
        CHECK(sent.error() == std::errc::destination_address_required);
    };
    const auto report = simulate({.seeds = 1, .faults = FaultSet::none()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}

TEST_CASE("a send to a full Unix datagram socket waits for room") {
    auto scenario = [](Simulation& world) -> Task<> {
        auto server = DatagramSocket::bind(Endpoint::parse("unix:@server").value());
        auto client = DatagramSocket::connect(Endpoint::parse("unix:@server").value());
        REQUIRE(server);
        REQUIRE(client);
        int sent_count = 0;
        auto send = [&]() -> Task<> {
            for (; sent_count < 50; ++sent_count) {
                auto sent = co_await client->send("x");
                CHECK(sent);
            }
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(send);
            auto slept = co_await sleep_for(1s);
            CHECK(slept);
            world.check(sent_count > 5 && sent_count < 50, "it did not wait for its receiver");
            std::vector<std::byte> memory(10);
            for (int i = 0; i < 50; ++i) {
                auto received = co_await server->recv_from(memory);
                CHECK(received);
            }
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
        auto nobody = DatagramSocket::connect(Endpoint::parse("unix:@none").value());
        CHECK(nobody.error() == std::errc::connection_refused);
    };
    const auto report = simulate({.seeds = 20, .faults = FaultSet::harmless()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}
