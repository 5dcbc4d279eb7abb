// Races in every order that the loop can see: the cancellation, or the deadline, comes before the
// operation has reached the kernel, while it waits there, or after its completion.

#include "held_clock.hpp"
#include "net.hpp"

#include <optional>
#include <string>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

Task<Result<std::string>> recv_text(TcpStream* stream) {
    auto chunk = co_await stream->recv();
    if (!chunk) co_return chunk.error();
    co_return text_of(*chunk);
}

Task<Result<void>> accept_one(TcpListener* listener, std::optional<TcpStream>* accepted) {
    auto stream = co_await listener->accept();
    if (!stream) co_return stream.error();
    accepted->emplace(std::move(*stream));
    // The task is still cancelled: only its accept succeeded before that.
    auto refused = co_await sleep_for(0s);
    co_return refused;
}

} // namespace

TEST_CASE("a receive and its cancellation: the data is delivered, or stays in the socket") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                // No data, and the kernel has the receive.
                auto waiting = group.spawn(recv_text, &stream);
                for (int i = 0; i < 3; ++i) static_cast<void>(co_await yield());
                waiting.cancel();
                auto cut = co_await waiting.join();
                CHECK(cut.error() == std::errc::operation_canceled);

                // The data comes first; the receive and its cancellation reach the kernel together.
                REQUIRE(write_all(pair.second.get(), "one"));
                auto together = group.spawn(recv_text, &stream);
                static_cast<void>(co_await yield());
                CHECK(loop->stats().operations_in_flight == 1);
                together.cancel();
                auto one = co_await together.join();
                // io_uring receives before it handles the cancellation; epoll never tries.
                CHECK(bool(one) == (loop->backend().backend == Backend::io_uring));
                if (one) {
                    CHECK(*one == "one");
                } else {
                    auto left = co_await recv_text(&stream);
                    REQUIRE(left);
                    CHECK(*left == "one");
                }

                // The completion has been read, but its task has not been resumed yet.
                REQUIRE(write_all(pair.second.get(), "two"));
                auto answered = group.spawn(recv_text, &stream);
                static_cast<void>(co_await yield()); // it starts
                CHECK(loop->stats().operations_in_flight == 1);
                static_cast<void>(co_await yield()); // it completes
                CHECK(loop->stats().operations_in_flight == 0);
                CHECK_FALSE(answered.done());
                answered.cancel();
                auto two = co_await answered.join();
                REQUIRE(two);
                CHECK(*two == "two");

                // Cancelled before its first turn: the data stays.
                REQUIRE(write_all(pair.second.get(), "three"));
                auto early = group.spawn(recv_text, &stream);
                early.cancel();
                auto refused = co_await early.join();
                CHECK(refused.error() == std::errc::operation_canceled);
                auto rest = co_await stream.recv();
                REQUIRE(rest);
                CHECK(text_of(*rest) == "three");
            };
            auto done = co_await with_task_group(body);
            CHECK(done);
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("an accept and its cancellation: the client is delivered, or stays in the queue") {
    ReportingLoop loop;
    const auto descriptors = descriptor_count();
    auto result = loop->run([&]() -> Task<> {
        auto listener = TcpListener::bind(loopback());
        REQUIRE(listener);
        std::optional<TcpStream> accepted;
        auto body = [&](TaskGroup& group) -> Task<> {
            auto waiting = group.spawn(accept_one, &*listener, &accepted);
            for (int i = 0; i < 3; ++i) static_cast<void>(co_await yield());
            waiting.cancel();
            auto cut = co_await waiting.join();
            CHECK(cut.error() == std::errc::operation_canceled);
            CHECK_FALSE(accepted);

            for (const int turns : {1, 2}) { // cancelled with the accept, or after its completion
                const UniqueFd client = connect_to(listener->local());
                REQUIRE(client);
                auto task = group.spawn(accept_one, &*listener, &accepted);
                for (int i = 0; i < turns; ++i) static_cast<void>(co_await yield());
                CHECK_FALSE(task.done());
                task.cancel();
                auto refused = co_await task.join();
                CHECK(refused.error() == std::errc::operation_canceled);
                // As with a receive: epoll has not tried yet when both come together.
                const bool first = turns > 1 || loop->backend().backend == Backend::io_uring;
                CHECK(accepted.has_value() == first);
                if (!accepted) {
                    auto next = co_await listener->accept();
                    REQUIRE(next);
                    accepted.emplace(std::move(*next));
                }
                accepted.reset();
                CHECK(end_of(client.get()) == 0);
            }

            const UniqueFd client = connect_to(listener->local());
            REQUIRE(client);
            auto early = group.spawn(accept_one, &*listener, &accepted);
            early.cancel();
            auto refused = co_await early.join();
            CHECK(refused.error() == std::errc::operation_canceled);
            CHECK_FALSE(accepted);
            auto next = co_await listener->accept();
            CHECK(next);
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(result);
    CHECK(descriptor_count() == descriptors);
    check_nothing_left(*loop);
}

TEST_CASE("data and a deadline in one batch: the data is delivered") {
    HeldClock clock;
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            const auto deadline = Clock::now() + 2ms;
            std::uint64_t submissions = 0;
            // Both happen while the task runs: the next wait finds them together.
            auto send_and_hold = [&]() -> Task<> {
                REQUIRE(write_all(pair.second.get(), "early"));
                clock.advance(2ms);
                submissions = loop->stats().ring.submissions;
                co_return;
            };
            loop->spawn(send_and_hold);
            auto text = co_await with_deadline(deadline, recv_text, &stream);
            CHECK(Clock::now() >= deadline);
            REQUIRE(text);
            CHECK(*text == "early");
            CHECK(loop->stats().ring.submissions == submissions); // no cancellation was needed
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a deadline just before the data: delivered or left in the socket, never lost") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            const auto deadline = Clock::now() + 2ms;
            // Armed after the deadline, for the same moment: it runs when the cancellation has been requested,
            // but has not reached the kernel.
            auto send_late = [&]() -> Task<> {
                auto slept = co_await sleep_until(deadline);
                CHECK(slept);
                REQUIRE(write_all(pair.second.get(), "late"));
            };
            loop->spawn(send_late);
            auto text = co_await with_deadline(deadline, recv_text, &stream);
            if (text) {
                CHECK(*text == "late");
            } else {
                CHECK(text.error() == std::errc::timed_out);
                auto left = co_await recv_text(&stream);
                REQUIRE(left);
                CHECK(*left == "late");
            }
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a close and a receive: received data is delivered first, in both orders") {
    ReportingLoop loop;
    for (const int turns : {1, 2}) { // the close comes with the receive, or after its completion
        const bool received = turns > 1 || loop->backend().backend == Backend::io_uring;
        auto pair = tcp_pair();
        REQUIRE(write_all(pair.second.get(), "early"));
        std::string trace;
        auto result = loop->run(
            [&](TcpStream stream) -> Task<> {
                auto body = [&](TaskGroup& group) -> Task<> {
                    auto reads = [&]() -> Task<> {
                        auto text = co_await recv_text(&stream);
                        trace += text ? *text : text.error().message();
                    };
                    group.spawn(reads);
                    for (int i = 0; i < turns; ++i) static_cast<void>(co_await yield());
                    auto closed = co_await stream.close();
                    CHECK(closed);
                    trace += " closed";
                };
                auto done = co_await with_task_group(body);
                CHECK(done);
                // Closing with unread data resets the connection (RFC 1122, 4.2.2.13).
                CHECK(end_of(pair.second.get()) == (received ? 0 : ECONNRESET));
            },
            TcpStream(std::move(pair.first)));
        CHECK(result);
        CHECK(trace == (received ? "early closed" : "Operation canceled closed"));
    }
    check_nothing_left(*loop);
}
