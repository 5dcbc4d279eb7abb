#include <ringlet/stream_socket.hpp>

#include "death.hpp"
#include "echo.hpp"
#include "net.hpp"

#include "notification.hpp"
#include <ringlet/testing/simulation.hpp>

#include <climits>
#include <string>
#include <vector>

#include <fcntl.h>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("several pieces are sent in one submission, and any number arrive in order") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    const std::vector<std::string> texts(2 * IOV_MAX + 17, "0123456789");
    const std::vector<Piece> pieces(texts.begin(), texts.end());
    auto talk = [&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        TcpStream peer(std::move(pair.second));
        const auto before = loop->stats().ring.submissions;
        const std::string_view head = "head";
        auto sent = co_await stream.send_all(head, std::string_view(" and "), "tail");
        CHECK(sent);
        CHECK(loop->stats().ring.submissions - before <= 2); // the other is the loop's own wake
        std::string received(13, '\0');
        auto got = co_await peer.recv_exactly(std::as_writable_bytes(std::span(received)));
        CHECK(got);
        CHECK(received == "head and tail");

        auto send = [&]() -> Task<> {
            auto all = co_await stream.send_all(std::span(pieces));
            CHECK(all);
            CHECK(stream.last_sent_bytes() == 10 * pieces.size());
        };
        auto receive = [&]() -> Task<> {
            std::string all(10 * pieces.size(), '\0');
            auto whole = co_await peer.recv_exactly(std::as_writable_bytes(std::span(all)));
            CHECK(whole);
            bool is_right = true;
            for (std::size_t i = 0; i < all.size(); i += 10) {
                is_right = is_right && all.compare(i, 10, "0123456789") == 0;
            }
            CHECK(is_right);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(send);
            group.spawn(receive);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
    };
    CHECK(loop->run(talk));
    check_nothing_left(*loop);
}

TEST_CASE("pieces that do not fit at once arrive whole") {
    auto pair = socket_pair();
    const auto first = pattern(700'001);
    const auto second = pattern(300'007);
    auto talk = [&]() -> Task<> {
        StreamSocket stream(std::move(pair.first));
        StreamSocket peer(std::move(pair.second));
        auto send = [&]() -> Task<> {
            auto sent = co_await stream.send_all(first, "middle", second);
            CHECK(sent);
        };
        std::vector<std::byte> all(first.size() + 6 + second.size());
        auto receive = [&]() -> Task<> {
            auto got = co_await peer.recv_exactly(all);
            CHECK(got);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(send);
            group.spawn(receive);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
        CHECK(std::equal(first.begin(), first.end(), all.begin()));
        CHECK(std::equal(second.rbegin(), second.rend(), all.rbegin()));
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a descriptor that is not a stream socket aborts with advice") {
    const auto refuses = [](UniqueFd fd) {
        check_aborts("no stream socket", [&] { const StreamSocket stream(std::move(fd)); });
    };
    refuses(UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    refuses(UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)));
    refuses(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
}

TEST_CASE("a receive waits even if other code made its descriptor non-blocking") {
    auto pair = socket_pair();
    REQUIRE(::fcntl(pair.first.get(), F_SETFL, O_NONBLOCK) == 0);
    auto talk = [&]() -> Task<> {
        EventLoop& loop = co_await current_loop();
        StreamSocket stream(std::move(pair.first));
        StreamSocket peer(std::move(pair.second));
        auto receive = [&]() -> Task<> {
            auto chunk = co_await stream.recv();
            CHECK((chunk && chunk->text() == "x"));
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(receive);
            co_await until_in_flight(loop, 1);
            const auto turns = loop.stats().turns;
            auto slept = co_await sleep_for(std::chrono::milliseconds(50));
            CHECK(slept);
            CHECK(loop.stats().turns - turns < 10); // it does not retry in a loop
            auto sent = co_await peer.send_all("x");
            CHECK(sent);
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("is_open_and_idle is true only without unread data and before the end") {
    auto talk = []() -> Task<> {
        auto listener = TcpListener::bind(loopback());
        REQUIRE(listener);
        auto connect = [at = listener->local()]() -> Task<Result<TcpStream>> {
            auto stream = co_await TcpStream::connect(at);
            co_return stream;
        };
        auto [accepted, connected] = co_await when_all(listener->accept(), connect());
        REQUIRE(accepted);
        REQUIRE(connected);
        TcpStream one = std::move(*accepted); // a direct descriptor, if those are enabled
        TcpStream other = std::move(*connected);
        CHECK(one.is_open_and_idle());
        auto sent = co_await other.send_all("unasked");
        CHECK(sent);
        auto arrived = co_await sleep_for(std::chrono::milliseconds(5));
        CHECK(arrived);
        CHECK_FALSE(one.is_open_and_idle());
        auto chunk = co_await one.recv();
        CHECK(chunk);
        CHECK(one.is_open_and_idle());
        auto closed = co_await other.close();
        CHECK(closed);
        auto told = co_await sleep_for(std::chrono::milliseconds(5));
        CHECK(told);
        CHECK_FALSE(one.is_open_and_idle());
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("an aborted TCP connection is reset") {
    auto pair = tcp_pair();
    auto talk = [&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        TcpStream peer(std::move(pair.second));
        stream.abort();
        auto chunk = co_await peer.recv();
        CHECK(chunk.error() == std::errc::connection_reset);
        TcpStream none;
        none.abort();
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a stream used after its close aborts and names the task") {
    check_aborts("by task \"careless\"", [] {
        auto loop = EventLoop::create();
        auto pair = socket_pair();
        auto use = [&]() -> Task<> {
            StreamSocket stream(std::move(pair.first));
            auto closed = co_await stream.close();
            static_cast<void>(closed);
            auto chunk = co_await stream.recv();
            static_cast<void>(chunk);
        };
        auto body = [&]() -> Task<> {
            auto group = [&](TaskGroup& tasks) -> Task<> {
                tasks.spawn("careless", use);
                co_return;
            };
            auto done = co_await with_task_group(group);
            static_cast<void>(done);
        };
        static_cast<void>(loop->run(body));
    });
}

TEST_CASE("try_send sends what fits, and never waits") {
    const auto talk = [](StreamSocket one, StreamSocket other) -> Task<> {
        const auto bytes = pattern(100'000);
        std::size_t sent_bytes = 0;
        for (;;) {
            auto sent = one.try_send(std::span(bytes).subspan(0, 10'000));
            CHECK(sent);
            if (!sent || *sent == 0) break;
            sent_bytes += *sent;
            if (sent_bytes > 100'000'000) break; // it would never end
        }
        CHECK((sent_bytes > 0 && sent_bytes < 100'000'000));
        auto closed = co_await one.close();
        CHECK(closed);
        std::size_t received_bytes = 0;
        for (;;) {
            auto chunk = co_await other.recv();
            CHECK(chunk);
            if (!chunk || chunk->empty()) break;
            received_bytes += chunk->size();
        }
        CHECK(received_bytes == sent_bytes);
        std::size_t refused = 0;
        for (int i = 0; i < 3; ++i) { // the first may succeed, and cause a reset
            auto sent = other.try_send(bytes_of("nobody is there"));
            if (!sent) ++refused;
            auto told = co_await sleep_for(std::chrono::milliseconds(5));
            CHECK(told);
        }
        CHECK(refused > 0);
    };
    auto pair = socket_pair();
    auto real = [&]() -> Task<> {
        co_await talk(StreamSocket(std::move(pair.first)), StreamSocket(std::move(pair.second)));
    };
    CHECK(run_on_loop(real));
    auto simulated = [&](Simulation& world) -> Task<> {
        auto [one, other] = world.pair();
        auto slept = co_await sleep_for(std::chrono::milliseconds(1));
        CHECK(slept);
        co_await talk(std::move(one), std::move(other));
    };
    const auto report = simulate({.seeds = 20, .faults = FaultSet::none()}, simulated);
    CHECK_MESSAGE(report, report.to_string());
}
