#include <ringlet/server.hpp>

#include <ringlet/listen_address.hpp>
#include <ringlet/workers.hpp>

#include "echo.hpp"
#include "held_clock.hpp"
#include "net.hpp"
#include "serve/room.hpp"
#include "serving_thread.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    CHECK(::getsockopt(fd, level, name, &value, &size) == 0);
    return value;
}

} // namespace

// ---- many at once -------------------------------------------------------------------------------

TEST_CASE("clients that wait in the queue are accepted together") {
    for (const std::string feature : {"none", "direct descriptors", "multishot"}) {
        CAPTURE(feature);
        ServeOptions options = quiet_options();
        options.loop.features.direct_descriptors = feature == "direct descriptors";
        options.loop.features.multishot_accept = feature == "multishot";
        auto server = Server::create(options);
        REQUIRE(server);
        std::vector<UniqueFd> clients;
        for (int i = 0; i < 200; ++i) clients.push_back(connect_to(server->local()));
        std::size_t served = 0;
        std::uint64_t turns = 0;
        auto handler = [&](TcpStream) -> Task<> {
            if (++served == clients.size()) {
                turns = server->loop().stats().turns;
                server->stop();
            }
            co_return;
        };
        auto report = server->run(handler);
        REQUIRE(report);
        CHECK(report->accepted_count == 200);
        CHECK(turns <= 20); // 200 / accepts_per_turn, and a few; 200 if one by one
    }
}

TEST_CASE("accepted connections are watched: keepalive and user timeout are set") {
    ServeOptions options = quiet_options();
    options.socket.liveness = {.keep_alive = 66s, .user_timeout = 7s};
    auto server = Server::create(options);
    REQUIRE(server);
    const UniqueFd client = connect_to(server->local());
    auto handler = [&](TcpStream stream) -> Task<> {
        const int fd = stream.native_handle();
        CHECK(option_of(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
        CHECK(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 66);
        CHECK(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL) == 11);
        CHECK(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT) == 6);
        CHECK(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) == 7000);
        server->stop();
        co_return;
    };
    REQUIRE(server->run(handler));
}

TEST_CASE("liveness: on by default for accepted connections, and on request for others") {
    auto listener = TcpListener::bind(loopback());
    REQUIRE(listener);
    CHECK(option_of(listener->native_handle(), SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option_of(listener->native_handle(), IPPROTO_TCP, TCP_KEEPIDLE) == 120);
    auto never = TcpListener::bind(loopback(), {.liveness = {}});
    REQUIRE(never);
    CHECK(option_of(never->native_handle(), SOL_SOCKET, SO_KEEPALIVE) == 0);
    const Endpoint address = listener->local();
    auto ran = run_on_loop([address]() -> Task<> {
        auto silent = co_await TcpStream::connect(address);
        REQUIRE(silent);
        CHECK(option_of(silent->native_handle(), SOL_SOCKET, SO_KEEPALIVE) == 0);
        ConnectOptions options;
        options.liveness.keep_alive = 99'999s; // the kernel allows 32,767
        auto watched = co_await TcpStream::connect(address, options);
        REQUIRE(watched);
        CHECK(option_of(watched->native_handle(), IPPROTO_TCP, TCP_KEEPIDLE) == 32'767);
    });
    CHECK(ran);
}

// ---- several addresses --------------------------------------------------------------------------

TEST_CASE("a server listens on several addresses of different kinds") {
    ServeOptions options = quiet_options();
    const std::string name = "unix:@ringlet-accepting-" + std::to_string(::getpid());
    options.listen = "127.0.0.1:0, 127.0.0.2:0," + name;
    for (const std::size_t workers : {1U, 2U}) {
        options.workers = workers;
        auto served = Workers::create(options);
        REQUIRE(served);
        const std::vector<Endpoint> addresses = served->locals();
        REQUIRE(addresses.size() == 3);
        CHECK(addresses[0].to_string().starts_with("127.0.0.1:"));
        CHECK(addresses[1].to_string().starts_with("127.0.0.2:"));
        CHECK(addresses[2].to_string() == name);
        std::thread clients([&] {
            for (const Endpoint& address : addresses) {
                const UniqueFd client = connect_to(address);
                CHECK(echoes(client, "hello"));
            }
            served->stop();
        });
        auto report = served->run(echo_any);
        clients.join();
        REQUIRE(report);
        CHECK(report->accepted_count == 3);
    }
}

TEST_CASE("a client beyond the limit waits, whichever address it connected to") {
    ServeOptions options = quiet_options();
    options.listen = "127.0.0.1:0, 127.0.0.2:0";
    for (const std::size_t workers : {1U, 2U}) {
        CAPTURE(workers);
        options.workers = workers;
        options.max_connections = workers;
        auto served = Workers::create(options);
        REQUIRE(served);
        const std::vector<Endpoint> addresses = served->locals();
        REQUIRE(addresses.size() == 2);
        std::thread clients([&] {
            std::vector<UniqueFd> first;
            for (std::size_t i = 0; i < workers; ++i) {
                first.push_back(connect_to(addresses[0]));
                CHECK(echoes(first.back(), "first"));
            }
            const UniqueFd late = connect_to(addresses[1]);
            CHECK(write_all(late.get(), "late"));
            CHECK_FALSE(is_readable(late.get(), 50));
            first.clear();
            waiting_for("one that waited, after another has left");
            CHECK(read_up_to(late.get(), 4) == "late");
            served->stop();
        });
        auto report = served->run(echo);
        clients.join();
        REQUIRE(report);
        CHECK(report->accepted_count == workers + 1);
    }
}

TEST_CASE("a name means all of its addresses that this machine has, at one port") {
    auto addresses = resolve_listen("localhost:0");
    REQUIRE(addresses);
    ServeOptions options = quiet_options();
    // An address that no interface has, and two that exist.
    options.addresses = {{.endpoint = *Endpoint::parse("192.0.2.1:0"), .is_alternative = true},
                         {.endpoint = *Endpoint::parse("127.0.0.1:0"), .is_alternative = true},
                         {.endpoint = *Endpoint::parse("127.0.0.3:0"), .is_alternative = true}};
    auto server = Server::create(options);
    REQUIRE(server);
    REQUIRE(server->locals().size() == 2);
    CHECK(server->locals()[0].port() == server->locals()[1].port());
    options.addresses.resize(1);
    CHECK(Server::create(options).error() == std::errc::address_not_available);
    options.addresses[0].is_alternative = false;
    options.addresses.push_back({.endpoint = *Endpoint::parse("127.0.0.1:0")});
    CHECK(Server::create(options).error() == std::errc::address_not_available);
}

TEST_CASE("a list of addresses with a bad one is refused") {
    for (const char* wrong : {"127.0.0.1:0,", ",127.0.0.1:0", "127.0.0.1:0,nonsense", ""}) {
        CAPTURE(wrong);
        ServeOptions options = quiet_options();
        options.listen = wrong;
        CHECK(Server::create(options).error() == Errc::invalid_endpoint);
    }
}

// ---- workers ------------------------------------------------------------------------------------

TEST_CASE("connections are spread evenly over workers, however the kernel distributes them") {
    using Way = std::pair<std::size_t, bool>;
    for (const auto& [connections, in_table] : {Way(8, false), Way(100, false), Way(100, true)}) {
        const std::size_t count = connections; // clang 19 captures no binding in a lambda
        const bool direct = in_table;
        CAPTURE(count);
        CAPTURE(direct);
        ServeOptions options = quiet_options();
        options.workers = 4;
        options.loop.features.direct_descriptors = direct;
        WorkersThread workers(options, echo);
        std::vector<UniqueFd> clients;
        for (std::size_t i = 0; i < count; ++i) {
            clients.push_back(connect_to(workers.address()));
            CHECK(echoes(clients.back(), "here"));
        }
        workers.stop();
        workers.stop();
        const ServeReport report = workers.finish();
        const auto [least, most] =
            std::ranges::minmax(report.workers, {}, &ServeReport::cancelled_count);
        CHECK(most.cancelled_count <= least.cancelled_count + 2 + least.cancelled_count / 4);
    }
}

TEST_CASE("no client waits while any worker has room") {
    ServeOptions options = quiet_options();
    options.workers = 4;
    options.max_connections = 20;
    WorkersThread workers(options, echo);
    for (int round = 0; round < 5; ++round) {
        std::vector<UniqueFd> clients;
        for (int i = 0; i < 20; ++i) clients.push_back(connect_to(workers.address()));
        waiting_for("as many clients as there is room for");
        for (const UniqueFd& client : clients) CHECK(echoes(client, "room"));
        const UniqueFd late = connect_to(workers.address());
        CHECK(write_all(late.get(), "late"));
        CHECK_FALSE(is_readable(late.get(), 10));
        clients.erase(clients.begin());
        waiting_for("one that waited, after another has left");
        CHECK(read_up_to(late.get(), 4) == "late");
    }
    workers.stop();
    workers.finish();
}

TEST_CASE("room: a free place goes to one waiter, which is called once") {
    Room room(2, 3);
    CHECK(room.try_enter(0));
    CHECK(room.try_enter(0));
    CHECK_FALSE(room.try_enter(1));
    CHECK(room.free_places() == 0);
    int told = 0;
    room.tell_when_free(1, [&] { ++told; });
    room.tell_when_free(2, [&] { told += 100; });
    room.tell_when_free(2, nullptr); // withdrawn
    room.leave(0);
    CHECK(told == 1);
    CHECK(room.idler_than(0) == std::nullopt);
    room.leave(0);
    CHECK(told == 1);
    room.tell_when_free(0, [&] { told += 10; }); // there is room
    CHECK(told == 11);
}

TEST_CASE("room: a place that becomes free after close stays empty") {
    Room room(2, 2);
    CHECK(room.try_enter(0));
    CHECK(room.try_enter(1));
    bool told = false;
    room.tell_when_free(1, [&] { told = true; });
    room.close();
    room.leave(0);
    room.tell_when_free(0, [&] { told = true; });
    CHECK_FALSE(told);
    CHECK(room.free_places() == 0);
    CHECK_FALSE(room.try_enter(1));
    CHECK(room.live() == 1);
}
