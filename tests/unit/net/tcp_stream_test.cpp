#include <ringlet/tcp_stream.hpp>

#include "base/sanitizer.hpp"
#include "echo.hpp"
#include "net.hpp"
#include "notification.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<TcpStream> && !std::is_copy_assignable_v<TcpStream>);
static_assert(std::is_nothrow_move_constructible_v<TcpStream>);

namespace {

void check_echo(std::string_view address) {
    ReportingLoop loop;
    const std::string question(40'000, 'q');
    auto result = loop->run([&]() -> Task<> {
        auto listener = TcpListener::bind(loopback(address));
        CHECK(listener);
        if (!listener) co_return;
        const Endpoint server = listener->local();
        loop->spawn(
            [&](TcpListener listening) -> Task<> {
                auto accepted = co_await listening.accept();
                CHECK(accepted);
                if (accepted) loop->spawn(echo, std::move(*accepted));
            },
            std::move(*listener));

        auto stream = co_await TcpStream::connect(server);
        CHECK(stream);
        if (!stream) co_return;
        auto peer = stream->peer();
        auto local = stream->local();
        CHECK(peer);
        CHECK(local);
        CHECK(*peer == server);
        CHECK(local->family() == server.family());
        CHECK(local->port() != server.port());

        std::string answer(question.size(), '\0');
        auto sent = co_await stream->send_all(bytes_of(question));
        CHECK(sent);
        auto received = co_await stream->recv_exactly(std::as_writable_bytes(std::span(answer)));
        CHECK(received);
        CHECK(answer == question);
        auto finished = stream->shutdown_write();
        CHECK(finished);
        auto last = co_await stream->recv();
        CHECK(last);
        CHECK(last->empty());
    });
    CHECK(result);
    check_nothing_left(*loop);
}

} // namespace

// ---- bytes --------------------------------------------------------------------------------------

TEST_CASE("echo over IPv4") { check_echo("127.0.0.1:0"); }

TEST_CASE("echo over IPv6") {
    if (!has_ipv6()) RINGLET_SKIP("no IPv6 loopback address");
    check_echo("[::1]:0");
}

TEST_CASE("recv returns what has arrived, and at the end an empty buffer every time") {
    auto pair = tcp_pair();
    REQUIRE(write_all(pair.second.get(), "hello"));
    REQUIRE(::shutdown(pair.second.get(), SHUT_WR) == 0);
    auto result = run_on_loop(
        [](TcpStream stream) -> Task<> {
            auto first = co_await stream.recv();
            CHECK(first);
            CHECK(text_of(*first) == "hello");
            for (int i = 0; i < 2; ++i) {
                auto last = co_await stream.recv();
                CHECK(last);
                CHECK(last->empty());
            }
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
}

TEST_CASE("recv into a span returns no more than fits, and 0 at the end") {
    auto pair = tcp_pair();
    REQUIRE(write_all(pair.second.get(), "abcdefg"));
    REQUIRE(::shutdown(pair.second.get(), SHUT_WR) == 0);
    auto result = run_on_loop(
        [](TcpStream stream) -> Task<> {
            std::array<std::byte, 4> memory{};
            auto count = co_await stream.recv(memory);
            CHECK(count);
            CHECK(*count == 4);
            CHECK(text_of(memory) == "abcd");
            count = co_await stream.recv(memory);
            CHECK(count);
            CHECK(*count == 3);
            CHECK(text_of(memory) == "efgd");
            count = co_await stream.recv(memory);
            CHECK(count);
            CHECK(*count == 0);
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
}

TEST_CASE("a buffer from recv holds at most its capacity") {
    auto pair = tcp_pair();
    const auto sent = pattern(3 * Buffer::capacity_bytes);
    std::thread writer([&] { CHECK(write_all(pair.second.get(), sent)); });
    auto result = run_on_loop(
        [&](TcpStream stream) -> Task<> {
            std::vector<std::byte> all;
            while (all.size() < sent.size()) {
                auto chunk = co_await stream.recv();
                CHECK(chunk);
                if (!chunk || chunk->empty()) break;
                CHECK(chunk->size() <= Buffer::capacity_bytes);
                all.insert(all.end(), chunk->begin(), chunk->end());
            }
            const bool same = all == sent;
            CHECK(same);
        },
        TcpStream(std::move(pair.first)));
    writer.join();
    CHECK(result);
}

TEST_CASE("one byte at a time, sent and received") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    const auto bytes = pattern(3000);
    bool exact_is_right = false;
    bool single_is_right = true;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                for (const std::byte& byte : bytes) {
                    auto sent = co_await stream.send_all(std::span(&byte, 1));
                    CHECK(sent);
                }
                auto block = co_await stream.send_all(bytes);
                CHECK(block);
            },
            TcpStream(std::move(pair.first)));
        TcpStream stream(std::move(pair.second));
        std::vector<std::byte> memory(bytes.size());
        auto received = co_await stream.recv_exactly(memory);
        CHECK(received);
        exact_is_right = memory == bytes;
        for (const std::byte& expected : bytes) {
            std::byte byte{};
            auto count = co_await stream.recv(std::span(&byte, 1));
            single_is_right = single_is_right && count && *count == 1 && byte == expected;
        }
    });
    CHECK(result);
    CHECK(exact_is_right);
    CHECK(single_is_right);
}

TEST_CASE("both directions at once on one stream") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    constexpr std::size_t size_bytes = 4'000'000;
    const auto bytes = pattern(size_bytes);
    int right = 0;
    auto send = [&](TcpStream* stream) -> Task<> {
        auto sent = co_await stream->send_all(bytes);
        CHECK(sent);
    };
    auto receive = [&](TcpStream* stream) -> Task<> {
        std::vector<std::byte> memory(size_bytes);
        auto received = co_await stream->recv_exactly(memory);
        CHECK(received);
        if (memory == bytes) ++right;
    };
    TcpStream left(std::move(pair.first));
    TcpStream other(std::move(pair.second));
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(send, &left);
        loop->spawn(send, &other);
        loop->spawn(receive, &left);
        co_await receive(&other);
        while (loop->stats().live_tasks > 1) {
            auto slept = co_await sleep_for(1ms);
            CHECK(slept);
        }
    });
    CHECK(result);
    CHECK(right == 2);
}

TEST_CASE("send_all delivers a hundred megabytes intact to a slow reader") {
    constexpr std::size_t size_bytes = (sanitizer_runs ? 20 : 100) * std::size_t{1'000'000};
    ReportingLoop loop;
    auto pair = tcp_pair();
    const auto bytes = pattern(size_bytes);
    std::size_t right = 0;
    bool sent_all = false;
    waiting_for("100 MB to arrive");
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                auto sent = co_await stream.send_all(bytes);
                CHECK(sent);
                sent_all = true;
            },
            TcpStream(std::move(pair.first)));
        // The reader starts when the sender has filled every buffer; its reads grow from 1 byte.
        co_await until_in_flight(*loop, 1);
        auto slept = co_await sleep_for(10ms);
        CHECK(slept);
        CHECK_FALSE(sent_all);
        TcpStream stream(std::move(pair.second));
        std::vector<std::byte> memory(1'000'000);
        std::size_t piece = 1;
        while (right < size_bytes) {
            auto count = co_await stream.recv(std::span(memory).first(piece));
            if (!count || *count == 0) break;
            if (std::memcmp(memory.data(), bytes.data() + right, *count) != 0) break;
            right += *count;
            piece = std::min(memory.size(), piece + piece / 8 + 1);
        }
        auto end = co_await stream.recv();
        CHECK(end);
        CHECK(end->empty());
    });
    CHECK(result);
    CHECK(sent_all);
    CHECK(right == size_bytes);
}

TEST_CASE("send_some may send less, send_all of nothing sends nothing") {
    auto pair = tcp_pair();
    ReportingLoop loop;
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            const auto before = loop->stats().ring.submissions;
            auto nothing = co_await stream.send_all(std::span<const std::byte>());
            CHECK(nothing);
            std::array<std::byte, 1> no_memory{};
            auto received = co_await stream.recv_exactly(std::span(no_memory).first(0));
            CHECK(received);
            CHECK(loop->stats().ring.submissions == before);

            const std::vector<std::byte> much(std::size_t{64} << 20);
            auto sent = co_await stream.send_some(much);
            CHECK(sent);
            CHECK(*sent > 0);
            CHECK(*sent < much.size());
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
}

TEST_CASE("recv_exactly distinguishes the end before a message from the end within it") {
    auto pair = tcp_pair();
    REQUIRE(write_all(pair.second.get(), "12345678abc"));
    REQUIRE(::shutdown(pair.second.get(), SHUT_WR) == 0);
    auto result = run_on_loop(
        [](TcpStream stream) -> Task<> {
            std::array<std::byte, 8> memory{};
            auto whole = co_await stream.recv_exactly(memory);
            CHECK(whole);
            CHECK(text_of(memory) == "12345678");
            auto part = co_await stream.recv_exactly(memory);
            CHECK(part.error() == Errc::message_truncated);
            auto none = co_await stream.recv_exactly(memory);
            CHECK(none.error() == Errc::end_of_stream);
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
}

// ---- the end of a connection --------------------------------------------------------------------

TEST_CASE("after a half-close with a megabyte pending all of it is echoed") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    const auto bytes = pattern(1'000'000);
    std::vector<std::byte> back;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [](TcpStream stream) -> Task<> {
                std::vector<std::byte> all;
                for (;;) {
                    auto chunk = co_await stream.recv();
                    CHECK(chunk);
                    if (!chunk || chunk->empty()) break;
                    all.insert(all.end(), chunk->begin(), chunk->end());
                }
                auto sent = co_await stream.send_all(all);
                CHECK(sent);
            },
            TcpStream(std::move(pair.second)));
        TcpStream stream(std::move(pair.first));
        auto sent = co_await stream.send_all(bytes);
        CHECK(sent);
        auto finished = stream.shutdown_write();
        CHECK(finished);
        for (;;) {
            auto chunk = co_await stream.recv();
            CHECK(chunk);
            if (!chunk || chunk->empty()) break;
            back.insert(back.end(), chunk->begin(), chunk->end());
        }
    });
    CHECK(result);
    const bool same = back == bytes;
    CHECK(same);
}

TEST_CASE("a reset by the peer is connection_reset") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    reset_on_close(pair.second.get());
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            co_await until_in_flight(*loop, 1);
            pair.second.reset();
        });
        TcpStream stream(std::move(pair.first));
        auto received = co_await stream.recv();
        CHECK(received.error() == std::errc::connection_reset);
        auto finished = stream.shutdown_write();
        CHECK(finished.error() == std::errc::not_connected);
        auto peer = stream.peer();
        CHECK(peer.error() == std::errc::not_connected);
    });
    CHECK(result);
}

TEST_CASE("sending to a peer that has closed fails without a signal") {
    auto pair = tcp_pair();
    pair.second.reset();
    // The default action of SIGPIPE would kill this program.
    auto before = std::signal(SIGPIPE, SIG_DFL);
    waiting_for("sends to a closed peer to fail");
    auto result = run_on_loop(
        [](TcpStream stream) -> Task<> {
            const std::vector<std::byte> bytes(100'000);
            std::error_code first;
            while (!first) { // the kernel may buffer some before it refuses
                auto sent = co_await stream.send_all(bytes);
                first = sent.error();
            }
            CHECK((first == std::errc::connection_reset || first == std::errc::broken_pipe));
            auto again = co_await stream.send_some(bytes);
            CHECK(again.error() == std::errc::broken_pipe);
        },
        TcpStream(std::move(pair.first)));
    std::signal(SIGPIPE, before);
    CHECK(result);
}

TEST_CASE("sending after shutdown_write is broken_pipe") {
    auto pair = socket_pair();
    auto before = std::signal(SIGPIPE, SIG_DFL);
    auto result = run_on_loop(
        [](TcpStream stream) -> Task<> {
            auto finished = stream.shutdown_write();
            CHECK(finished);
            auto sent = co_await stream.send_all(bytes_of("x"));
            CHECK(sent.error() == std::errc::broken_pipe);
        },
        TcpStream(std::move(pair.first)));
    std::signal(SIGPIPE, before);
    CHECK(result);
    CHECK(end_of(pair.second.get()) == 0);
}

// ---- connecting ---------------------------------------------------------------------------------

TEST_CASE("connecting to a port without a listener is connection_refused") {
    const std::size_t open_before = descriptor_count();
    const UniqueFd taken = bound_socket(loopback()); // bound, so that no other process takes it
    const Endpoint nobody = address_of(taken.get());
    auto result = run_on_loop([&]() -> Task<Result<void>> {
        auto stream = co_await TcpStream::connect(nobody);
        if (!stream) co_return stream.error();
        co_return Result<void>();
    });
    CHECK(result.error() == std::errc::connection_refused);
    CHECK(descriptor_count() == open_before + 1);
}

TEST_CASE("connecting from a given address") {
    const UniqueFd listener = bound_socket(loopback(), 10);
    const Endpoint server = address_of(listener.get());
    ConnectOptions from_second;
    from_second.from = loopback("127.0.0.2:0");
    ConnectOptions from_nowhere;
    from_nowhere.from = loopback("192.0.2.1:0"); // for documentation only (RFC 5737)
    ConnectOptions from_other_kind;
    from_other_kind.from = loopback("[::1]:0");
    auto result = run_on_loop([&]() -> Task<> {
        auto stream = co_await TcpStream::connect(server, from_second);
        CHECK(stream);
        if (!stream) co_return;
        auto local = stream->local();
        CHECK(local);
        CHECK(local->to_string().starts_with("127.0.0.2:"));

        // A port of our choice; another process may take it first.
        ConnectOptions given;
        std::error_code failed = std::make_error_code(std::errc::address_in_use);
        for (int attempt = 0; attempt < 20 && failed == std::errc::address_in_use; ++attempt) {
            given.from = address_of(bound_socket(loopback("127.0.0.3:0")).get());
            auto chosen = co_await TcpStream::connect(server, given);
            failed = chosen.error();
            if (!chosen) continue;
            auto chosen_local = chosen->local();
            CHECK(chosen_local);
            CHECK(*chosen_local == *given.from);
        }
        CHECK_FALSE(failed);

        auto nowhere = co_await TcpStream::connect(server, from_nowhere);
        CHECK(nowhere.error() == std::errc::address_not_available);
        auto other_kind = co_await TcpStream::connect(server, from_other_kind);
        CHECK_FALSE(other_kind);
    });
    CHECK(result);
}

TEST_CASE("connections get the requested no_delay") {
    const UniqueFd listener = bound_socket(loopback(), 10);
    const Endpoint server = address_of(listener.get());
    auto no_delay_of = [](int fd) {
        int value = -1;
        socklen_t size = sizeof value;
        ::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size);
        return value != 0;
    };
    auto result = run_on_loop([&]() -> Task<> {
        auto at_once = co_await TcpStream::connect(server);
        CHECK(at_once);
        CHECK(no_delay_of(at_once->native_handle()));
        ConnectOptions collecting;
        collecting.no_delay = false;
        auto later = co_await TcpStream::connect(server, collecting);
        CHECK(later);
        CHECK_FALSE(no_delay_of(later->native_handle()));
    });
    CHECK(result);
}

TEST_CASE("connecting without a free descriptor is too_many_files_open") {
    const Ending ending = end_of_child([] {
        auto loop = EventLoop::create();
        const UniqueFd listener = bound_socket(loopback(), 1);
        const Endpoint server = address_of(listener.get());
        auto result = loop->run([&]() -> Task<Result<void>> {
            std::vector<UniqueFd> fill;
            for (int fd = ::dup(STDERR_FILENO); fd >= 0; fd = ::dup(STDERR_FILENO)) {
                fill.emplace_back(fd);
            }
            auto stream = co_await TcpStream::connect(server);
            if (!stream) co_return stream.error();
            co_return Result<void>();
        });
        return result.error() == std::errc::too_many_files_open ? 0 : 1;
    });
    CHECK_MESSAGE(ending.status == 0, ending.errors);
}

// ---- closing while something is in flight -------------------------------------------------------

TEST_CASE("dropping a stream ends a receive on it, and the peer sees a FIN") {
    const std::size_t open_before = descriptor_count();
    {
        ReportingLoop loop;
        auto pair = tcp_pair();
        std::error_code seen;
        bool resumed = false;
        waiting_for("a receive on a dropped stream to end");
        auto result = loop->run([&]() -> Task<> {
            auto stream = std::make_unique<TcpStream>(std::move(pair.first));
            loop->spawn(
                [&](TcpStream* lent) -> Task<> {
                    auto received = co_await lent->recv();
                    seen = received.error();
                    resumed = true;
                },
                stream.get());
            co_await until_in_flight(*loop, 1);
            stream.reset();
            CHECK_FALSE(resumed); // finishes first, resumes later
            while (!resumed) static_cast<void>(co_await yield());
            CHECK(loop->stats().operations_in_flight == 0);
        });
        CHECK(result);
        CHECK(seen == std::errc::operation_canceled);
        CHECK(end_of(pair.second.get()) == 0);
        check_nothing_left(*loop);
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("dropping a stream ends a send and a receive on it") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    std::vector<std::error_code> seen;
    auto stream = std::make_unique<TcpStream>(std::move(pair.first));
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream* lent) -> Task<> {
                std::array<std::byte, 100> memory{};
                auto received = co_await lent->recv_exactly(memory);
                seen.push_back(received.error());
            },
            stream.get());
        loop->spawn(
            [&](TcpStream* lent) -> Task<> {
                const std::vector<std::byte> much(std::size_t{64} << 20);
                auto sent = co_await lent->send_all(much);
                seen.push_back(sent.error());
            },
            stream.get());
        co_await until_in_flight(*loop, 2);
        stream.reset();
        while (seen.size() < 2) static_cast<void>(co_await yield());
    });
    CHECK(result);
    for (const std::error_code error : seen) CHECK(error == std::errc::operation_canceled);
    CHECK(is_ended(pair.second.get()));
    check_nothing_left(*loop);
}

TEST_CASE("bytes that race with a drop are delivered or never received, and nothing hangs") {
    for (int round = 0; round < 50; ++round) {
        ReportingLoop loop;
        auto pair = tcp_pair();
        bool resumed = false;
        bool plausible = false;
        auto result = loop->run([&]() -> Task<> {
            auto stream = std::make_unique<TcpStream>(std::move(pair.first));
            loop->spawn(
                [&](TcpStream* lent) -> Task<> {
                    auto received = co_await lent->recv();
                    plausible = received ? text_of(*received) == "late"
                                         : received.error() == std::errc::operation_canceled;
                    resumed = true;
                },
                stream.get());
            co_await until_in_flight(*loop, 1);
            CHECK(write_all(pair.second.get(), "late"));
            stream.reset();
            while (!resumed) static_cast<void>(co_await yield());
        });
        CHECK(result);
        CHECK(plausible);
        CHECK(is_ended(pair.second.get()));
    }
}

TEST_CASE("close waits for a receive in flight, and the peer sees a FIN") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        loop->spawn(
            [&](TcpStream* lent) -> Task<> {
                std::array<std::byte, 100> memory{};
                auto received = co_await lent->recv(memory);
                CHECK(received.error() == std::errc::operation_canceled);
                trace += "received ";
            },
            &stream);
        co_await until_in_flight(*loop, 1);
        auto closed = co_await stream.close();
        CHECK(closed);
        trace += "closed";
        CHECK_FALSE(stream);
        CHECK(end_of(pair.second.get()) == 0);
        auto again = co_await stream.close(); // does nothing
        CHECK(again);
    });
    CHECK(result);
    CHECK(trace == "received closed");
    check_nothing_left(*loop);
}

TEST_CASE("close of an idle stream closes at once") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    const std::size_t open_before = descriptor_count();
    auto result = loop->run([&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        const auto turns = loop->stats().turns;
        auto closed = co_await stream.close();
        CHECK(closed);
        CHECK(loop->stats().turns == turns);
        CHECK(end_of(pair.second.get()) == 0);
    });
    CHECK(result);
    CHECK(descriptor_count() == open_before - 1);
}

TEST_CASE("close in a cancelled task still closes") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    bool closed_well = false;
    TcpStream stream(std::move(pair.first));
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            auto received = co_await stream.recv();
            CHECK(received.error() == std::errc::operation_canceled);
        });
        loop->spawn([&]() -> Task<> {
            auto slept = co_await sleep_for(1h);
            CHECK_FALSE(slept);
            auto closed = co_await stream.close();
            closed_well = closed.has_value();
        });
        co_await until_in_flight(*loop, 1);
        while (loop->stats().armed_timers == 0) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(closed_well);
    CHECK(end_of(pair.second.get()) == 0);
    check_nothing_left(*loop);
}

TEST_CASE("a stream may move while a receive is in flight on it") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    std::string seen;
    Notification received_it;
    auto result = loop->run([&]() -> Task<> {
        auto first = std::make_unique<TcpStream>(std::move(pair.first));
        loop->spawn(
            [&](TcpStream* lent) -> Task<> {
                auto received = co_await lent->recv();
                if (received) seen = text_of(*received);
                received_it.notify(*loop);
            },
            first.get());
        co_await until_in_flight(*loop, 1);
        TcpStream second(std::move(*first));
        CHECK_FALSE(*first);
        first.reset();
        auto third = std::make_unique<TcpStream>();
        *third = std::move(second);
        CHECK(write_all(pair.second.get(), "moved"));
        co_await received_it.wait();
        CHECK(seen == "moved");
        auto sent = co_await third->send_all(bytes_of("still here"));
        CHECK(sent);
        CHECK(read_up_to(pair.second.get(), 10) == "still here");
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("assigning over a stream drops what it had") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto other = tcp_pair();
    bool resumed = false;
    auto result = loop->run([&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        loop->spawn(
            [&](TcpStream* lent) -> Task<> {
                auto received = co_await lent->recv();
                CHECK(received.error() == std::errc::operation_canceled);
                resumed = true;
            },
            &stream);
        co_await until_in_flight(*loop, 1);
        stream = TcpStream(std::move(other.first));
        auto sent = co_await stream.send_all(bytes_of("new"));
        CHECK(sent);
        while (!resumed) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(end_of(pair.second.get()) == 0);
    CHECK(read_up_to(other.second.get(), 3) == "new");
}

TEST_CASE("a descriptor number is not reused while the kernel still has the old socket") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        for (int round = 0; round < 100; ++round) {
            auto pair = socket_pair();
            auto stream = std::make_unique<TcpStream>(std::move(pair.first));
            const int fd = stream->native_handle();
            loop->spawn(
                [](TcpStream* lent) -> Task<> {
                    auto received = co_await lent->recv();
                    CHECK(received.error() == std::errc::operation_canceled);
                },
                stream.get());
            co_await until_in_flight(*loop, 1);
            stream.reset();
            const UniqueFd next(::dup(pair.second.get()));
            CHECK(next.get() != fd);
            while (loop->stats().live_tasks > 1) static_cast<void>(co_await yield());
        }
    });
    CHECK(result);
}

// ---- idle time ----------------------------------------------------------------------------------

TEST_CASE("an operation without progress for too long ends with timed_out") {
    ReportingLoop loop;
    auto limited = tcp_pair();
    auto unlimited = tcp_pair();
    std::error_code seen;
    bool unlimited_went_on = false;
    Notification limited_ended;
    Notification unlimited_ended;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                stream.limit_idle_time();
                std::array<std::byte, 10> memory{};
                auto received = co_await stream.recv_exactly(memory);
                seen = received.error();
                limited_ended.notify(*loop);
            },
            TcpStream(std::move(limited.first)));
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                auto received = co_await stream.recv();
                unlimited_went_on = received && text_of(*received) == "x";
                unlimited_ended.notify(*loop);
            },
            TcpStream(std::move(unlimited.first)));
        co_await until_in_flight(*loop, 2);
        auto slept = co_await sleep_for(5ms);
        CHECK(slept);
        loop->cancel_idle(1h); // none has been idle for so long
        slept = co_await sleep_for(5ms);
        CHECK(slept);
        CHECK(loop->stats().operations_in_flight == 2);
        loop->cancel_idle(5ms);
        co_await limited_ended.wait();
        CHECK(write_all(unlimited.second.get(), "x"));
        co_await unlimited_ended.wait();
    });
    CHECK(result);
    CHECK(seen == std::errc::timed_out);
    CHECK(unlimited_went_on);
    CHECK(end_of(limited.second.get()) == 0);
}

TEST_CASE("each part that arrives restarts the idle time") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    std::error_code seen = std::make_error_code(std::errc::no_message);
    Notification ended;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](TcpStream stream) -> Task<> {
                stream.limit_idle_time();
                std::array<std::byte, 2> memory{};
                auto received = co_await stream.recv_exactly(memory);
                seen = received.error();
                ended.notify(*loop);
            },
            TcpStream(std::move(pair.first)));
        co_await until_in_flight(*loop, 1);
        const auto started = loop->now();
        auto slept = co_await sleep_for(20ms);
        CHECK(slept);
        CHECK(write_all(pair.second.get(), "a"));
        // Turn until the byte must have been seen; that resets the idle time.
        for (int turn = 0; turn < 5; ++turn) {
            slept = co_await sleep_for(1ms);
            CHECK(slept);
        }
        loop->cancel_idle(loop->now() - started);
        CHECK(write_all(pair.second.get(), "b"));
        co_await ended.wait();
    });
    CHECK(result);
    CHECK_FALSE(seen);
}

TEST_CASE("limit_idle_time also applies to a receive in flight, from then on") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    TcpStream stream(std::move(pair.first));
    std::error_code seen;
    Notification ended;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            auto received = co_await stream.recv();
            seen = received.error();
            ended.notify(*loop);
        });
        co_await until_in_flight(*loop, 1);
        auto slept = co_await sleep_for(5ms);
        CHECK(slept);
        stream.limit_idle_time();
        stream.limit_idle_time(); // a second call changes nothing
        loop->cancel_idle(1ms);   // its time starts now
        slept = co_await sleep_for(5ms);
        CHECK(slept);
        CHECK(loop->stats().operations_in_flight == 1);
        loop->cancel_idle(5ms);
        co_await ended.wait();
    });
    CHECK(result);
    CHECK(seen == std::errc::timed_out);
}

TEST_CASE("receives that wait for long end or continue as usual if their idle time is limited") {
    LoopOptions options;
    options.park_after = 1ms;
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    if (loop->backend().backend != Backend::io_uring) RINGLET_SKIP("only io_uring parks");
    std::array<FdPair, 3> pairs{tcp_pair(), tcp_pair(), tcp_pair()};
    std::vector<TcpStream> streams;
    for (FdPair& pair : pairs) streams.emplace_back(std::move(pair.first));
    std::array<std::string, 3> seen;
    Notification ended;
    auto result = loop->run([&]() -> Task<> {
        auto receive = [&](std::size_t i) -> Task<> {
            auto received = co_await streams[i].recv();
            const bool said = received && text_of(*received) == "late";
            seen[i] = said ? "late" : received.error().message();
            ended.notify(*loop);
        };
        streams[0].limit_idle_time();
        streams[1].limit_idle_time();
        for (std::size_t i = 0; i < streams.size(); ++i) loop->spawn(receive, i);
        waiting_for("three receives to be parked");
        while (loop->stats().ring.parked_receives < streams.size()) {
            auto waited = co_await sleep_for(1ms);
            CHECK(waited);
        }
        CHECK(loop->end_resting(1ms, 1) == 1);
        co_await ended.wait();
        streams[2].limit_idle_time(); // from now on, so only the second one has been idle
        loop->cancel_idle(1ms);
        co_await ended.wait();
        auto waited = co_await sleep_for(5ms); // it is due to be parked, and is already
        CHECK(waited);
        CHECK(write_all(pairs[2].second.get(), "late"));
        co_await ended.wait();
    });
    CHECK(result);
    CHECK(seen[0] == std::make_error_code(std::errc::operation_canceled).message());
    CHECK(seen[1] == std::make_error_code(std::errc::timed_out).message());
    CHECK(seen[2] == "late");
}

// ---- broken promises ----------------------------------------------------------------------------

TEST_CASE("two receives at once on one stream abort") {
    const Ending ending = end_of_child([] {
        auto pair = socket_pair();
        TcpStream stream(std::move(pair.first));
        ReportingLoop loop;
        auto result = loop->run([&]() -> Task<> {
            auto receive = [](TcpStream* lent) -> Task<> {
                static_cast<void>(co_await lent->recv());
            };
            loop->spawn(receive, &stream);
            loop->spawn(receive, &stream);
            for (int turn = 0; turn < 5; ++turn) static_cast<void>(co_await yield());
        });
        return result ? 0 : 1;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("two operations of one kind at once on one socket: task \""));
}

TEST_CASE("two sends at once on one stream abort") {
    const Ending ending = end_of_child([] {
        auto pair = socket_pair();
        TcpStream stream(std::move(pair.first));
        const std::vector<std::byte> much(std::size_t{16} << 20);
        ReportingLoop loop;
        auto result = loop->run([&]() -> Task<> {
            auto send = [&]() -> Task<> { static_cast<void>(co_await stream.send_all(much)); };
            loop->spawn(send);
            loop->spawn(send);
            for (int turn = 0; turn < 5; ++turn) static_cast<void>(co_await yield());
        });
        return result ? 0 : 1;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("two operations of one kind at once on one socket: task \""));
}

TEST_CASE("using an empty stream aborts") {
    const Ending ending = end_of_child([] {
        TcpStream stream;
        static_cast<void>(stream.native_handle());
        return 0;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("moved from, or closed"));
}

TEST_CASE("recv into no memory aborts") {
    const Ending ending = end_of_child([] {
        auto pair = socket_pair();
        TcpStream stream(std::move(pair.first));
        static_cast<void>(stream.recv(std::span<std::byte>()));
        return 0;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("would look like the end of stream"));
}

TEST_CASE("ASan finds memory that is freed while it is lent to a receive") {
    if constexpr (!address_sanitizer_runs)
        RINGLET_SKIP("only the address sanitizer knows what is freed");
    const Ending ending = end_of_child([] {
        auto pair = socket_pair();
        TcpStream stream(std::move(pair.first));
        auto memory = std::make_unique<std::array<std::byte, 64>>();
        ReportingLoop loop;
        auto result = loop->run([&]() -> Task<> {
            loop->spawn([&]() -> Task<> { static_cast<void>(co_await stream.recv(*memory)); });
            co_await until_in_flight(*loop, 1);
            memory.reset();
            static_cast<void>(write_all(pair.second.get(), "too late"));
            for (int turn = 0; turn < 1000; ++turn) static_cast<void>(co_await yield());
        });
        return result ? 0 : 1;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("a buffer was freed while the kernel had it"));
}
