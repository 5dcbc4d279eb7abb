#include <ringlet/hand_over.hpp>

#include "serve/connection_channel.hpp"

#include "death.hpp"
#include "net.hpp"

#include <string>
#include <utility>

#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

std::pair<UniqueFd, UniqueFd> channel() {
    auto made = make_connection_channel();
    REQUIRE(made);
    return std::move(*made);
}

} // namespace

TEST_CASE("a connection channel: each connection arrives in order, with its peer and state") {
    auto [in, out] = channel();
    auto [client, server] = tcp_pair();
    REQUIRE(write_all(client.get(), "unread"));
    const HandedOver whole{.peer = "192.0.2.1:80",
                           .state = std::string(hand_over_state_limit, '\n')};
    REQUIRE(send_connection(in.get(), server.get(), whole));
    REQUIRE(send_connection(in.get(), server.get(), HandedOver{}));
    server.reset(); // the channel keeps the connection

    auto first = receive_connection(out.get());
    REQUIRE(first);
    REQUIRE(*first);
    CHECK((*first)->along.peer == whole.peer);
    CHECK((*first)->along.state == whole.state);
    CHECK(read_up_to((*first)->fd.get(), 6) == "unread");
    auto second = receive_connection(out.get());
    REQUIRE(second);
    REQUIRE(*second);
    CHECK((*second)->along.peer.empty());
    CHECK((*second)->along.state.empty());

    CHECK(receive_connection(out.get()).error() == std::errc::resource_unavailable_try_again);
    in.reset();
    auto end = receive_connection(out.get());
    REQUIRE(end);
    CHECK_FALSE(*end);
}

TEST_CASE("a connection channel: without a descriptor to spare nothing is taken") {
    const Ending ending = end_of_child([] {
        auto [in, out] = channel();
        auto pair = socket_pair();
        if (!send_connection(in.get(), pair.first.get(), HandedOver{.peer = "", .state = "kept"}))
            return 2;
        rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        rlimit none = before;
        none.rlim_cur = 0;
        if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 3;
        for (int i = 0; i < 3; ++i)
            if (receive_connection(out.get()).error() != std::errc::too_many_files_open) return 4;
        if (::setrlimit(RLIMIT_NOFILE, &before) != 0) return 5;
        auto received = receive_connection(out.get());
        return received && *received && (*received)->along.state == "kept" ? 0 : 6;
    });
    CHECK(ending.signal == 0);
    CHECK(ending.status == 0);
}

TEST_CASE("a connection channel: after end_receiving a send fails, but what is queued arrives") {
    auto [in, out] = channel();
    auto pair = socket_pair();
    REQUIRE(send_connection(in.get(), pair.first.get(), HandedOver{.peer = "", .state = "last"}));
    end_receiving(out.get());
    CHECK(send_connection(in.get(), pair.first.get(), HandedOver{}).error() ==
          std::errc::broken_pipe);
    auto last = receive_connection(out.get());
    REQUIRE(last);
    REQUIRE(*last);
    CHECK((*last)->along.state == "last");
    auto end = receive_connection(out.get());
    REQUIRE(end);
    CHECK_FALSE(*end);
}
