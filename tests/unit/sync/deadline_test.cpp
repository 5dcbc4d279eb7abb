#include <ringlet/deadline.hpp>

#include "net.hpp"

#include <stdexcept>
#include <string>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

Task<Result<int>> wait_and_give(Event* event, int value) {
    auto told = co_await event->wait();
    if (!told) co_return told.error();
    co_return value;
}

} // namespace

TEST_CASE("with_timeout returns the result of a task that is in time, and leaves no timer") {
    ReportingLoop loop;
    Event event("told");
    event.set();
    auto result = loop->run([&]() -> Task<> {
        auto value = co_await with_timeout(1h, wait_and_give, &event, 7);
        REQUIRE(value);
        CHECK(*value == 7);
        auto plain = [](int number) -> Task<int> { co_return number; };
        auto number = co_await with_timeout(1h, plain, 8);
        REQUIRE(number);
        CHECK(*number == 8);
        auto nothing = []() -> Task<> { co_return; };
        auto done = co_await with_timeout(1h, nothing);
        CHECK(done);
        CHECK(loop->stats().armed_timers == 0);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a deadline costs no system call and no request") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            auto receive = [&]() -> Task<Result<Buffer>> {
                REQUIRE(write_all(pair.second.get(), "x"));
                auto chunk = co_await stream.recv();
                co_return chunk;
            };
            constexpr int rounds = 20;
            const RingStats before = loop->stats().ring;
            for (int i = 0; i < rounds; ++i) {
                auto chunk = co_await receive();
                CHECK(chunk);
            }
            const RingStats between = loop->stats().ring;
            for (int i = 0; i < rounds; ++i) {
                auto chunk = co_await with_timeout(1h, receive);
                CHECK(chunk);
            }
            const RingStats after = loop->stats().ring;
            CHECK(between.submissions - before.submissions == rounds);
            CHECK(after.submissions - between.submissions == rounds);
            const auto bare = between.system_calls - before.system_calls;
            CHECK(after.system_calls - between.system_calls <= bare);
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
}

TEST_CASE("a deadline that passes returns timed_out, for a Result, a plain value and void") {
    ReportingLoop loop;
    Event never("never");
    auto result = loop->run([&]() -> Task<> {
        auto value = co_await with_timeout(1ms, wait_and_give, &never, 7);
        CHECK(value.error() == std::errc::timed_out);
        auto plain = [&]() -> Task<int> {
            auto told = co_await never.wait();
            CHECK(told.error() == std::errc::operation_canceled);
            co_return 1;
        };
        auto number = co_await with_timeout(1ms, plain);
        CHECK(number.error() == std::errc::timed_out);
        auto nothing = [&]() -> Task<> {
            auto told = co_await never.wait();
            CHECK_FALSE(told);
        };
        auto done = co_await with_timeout(-1s, nothing);
        CHECK(done.error() == std::errc::timed_out);
        auto slept = co_await sleep_for(0s);
        CHECK(slept); // not cancelled outside of the scope
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a task that fails by itself keeps its own error after the deadline") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        auto own = []() -> Task<Result<int>> {
            auto slept = co_await sleep_for(1h);
            CHECK_FALSE(slept);
            co_return std::errc::no_link;
        };
        auto value = co_await with_timeout(1ms, own);
        CHECK(value.error() == std::errc::no_link);
    });
    CHECK(result);
}

TEST_CASE("of nested deadlines only the one that passed returns timed_out") {
    ReportingLoop loop;
    Event never("never");
    auto result = loop->run([&]() -> Task<> {
        std::error_code inner;
        auto inside = [&](Clock::duration limit) -> Task<Result<int>> {
            auto value = co_await with_timeout(limit, wait_and_give, &never, 1);
            inner = value.error();
            co_return value;
        };
        auto outer_passed = co_await with_timeout(1ms, inside, 1h);
        CHECK(inner == std::errc::operation_canceled);
        CHECK(outer_passed.error() == std::errc::timed_out);

        auto inner_passed = co_await with_timeout(1h, inside, 1ms);
        CHECK(inner == std::errc::timed_out);
        CHECK(inner_passed.error() == std::errc::timed_out); // as the task returned it

        auto swallowed = [&]() -> Task<Result<int>> {
            auto value = co_await inside(1ms);
            CHECK(value.error() == std::errc::timed_out);
            co_return 5;
        };
        auto went_on = co_await with_timeout(1h, swallowed);
        REQUIRE(went_on);
        CHECK(*went_on == 5);
    });
    CHECK(result);
}

TEST_CASE("a shield keeps cancellation out, and the next await after it is refused") {
    ReportingLoop loop;
    Event told("told");
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto goodbye = [&]() -> Task<Result<int>> {
            auto reason = co_await cancelled();
            CHECK_FALSE(reason);
            auto slept = co_await sleep_for(1ms);
            CHECK(slept);
            trace += "goodbye ";
            co_return 3;
        };
        auto task = [&]() -> Task<Result<void>> {
            auto waited = co_await told.wait();
            CHECK(waited.error() == std::errc::operation_canceled);
            auto said = co_await shield(goodbye);
            REQUIRE(said);
            CHECK(*said == 3);
            auto refused = co_await sleep_for(0s);
            CHECK(refused.error() == std::errc::operation_canceled);
            trace += "refused";
            co_return refused.error();
        };
        auto done = co_await with_timeout(1ms, task);
        CHECK(done.error() == std::errc::timed_out);
    });
    CHECK(result);
    CHECK(trace == "goodbye refused");
}

TEST_CASE("a deadline inside a shield still applies") {
    ReportingLoop loop;
    Event never("never");
    auto result = loop->run([&]() -> Task<> {
        auto limited = [&]() -> Task<Result<int>> {
            auto value = co_await with_timeout(1ms, wait_and_give, &never, 1);
            co_return value;
        };
        auto value = co_await shield(limited);
        CHECK(value.error() == std::errc::timed_out);
    });
    CHECK(result);
}

TEST_CASE("an exception passes through with_timeout, and leaves no timer") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        auto throws = []() -> Task<Result<int>> {
            auto slept = co_await sleep_for(0s);
            CHECK(slept);
            throw std::runtime_error("out");
        };
        std::string caught;
        try {
            auto value = co_await with_timeout(1h, throws);
            CHECK_FALSE(value);
        } catch (const std::runtime_error& thrown) {
            caught = thrown.what();
        }
        CHECK(caught == "out");
        CHECK(loop->stats().armed_timers == 0);
    });
    CHECK(result);
}

TEST_CASE("every await after a cancellation is refused with its reason, without the kernel") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            auto stubborn = [&]() -> Task<Result<int>> {
                auto before = co_await cancelled();
                CHECK_FALSE(before);
                auto first = co_await sleep_for(1h);
                CHECK(first.error() == std::errc::operation_canceled);
                auto reason = co_await cancelled();
                CHECK(reason == CancelReason::deadline);
                const auto submissions = loop->stats().ring.submissions;
                for (int i = 0; i < 20; ++i) {
                    auto chunk = co_await stream.recv();
                    CHECK(chunk.error() == std::errc::operation_canceled);
                    auto slept = co_await sleep_for(0s);
                    CHECK(slept.error() == std::errc::operation_canceled);
                }
                CHECK(loop->stats().ring.submissions == submissions);
                co_return first.error();
            };
            auto value = co_await with_timeout(1ms, stubborn);
            CHECK(value.error() == std::errc::timed_out);
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a task that ignores its cancellation is reported once, and lets others run") {
    ReportingLoop loop;
    Event cancelled_once("cancelled once");
    bool others_done = false;
    auto result = loop->run([&]() -> Task<> {
        auto ignores = [&]() -> Task<Result<int>> {
            while (!others_done) {
                static_cast<void>(co_await sleep_for(1h));
                cancelled_once.set();
            }
            co_return 1;
        };
        loop->spawn("other", [&]() -> Task<> {
            auto told = co_await cancelled_once.wait();
            CHECK(told);
            for (int i = 0; i < 100; ++i) static_cast<void>(co_await yield());
            others_done = true;
        });
        auto value = co_await with_timeout(1ms, ignores);
        CHECK(value); // it continued and succeeded
    });
    CHECK(result);
    CHECK(others_done);
    REQUIRE(loop.reports.size() == 1);
    CHECK(loop.reports[0].find("goes on awaiting") != std::string::npos);
    CHECK(loop.reports[0].find("deadline_test.cpp:") != std::string::npos);
}

TEST_CASE("current_loop returns the running loop") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        EventLoop& here = co_await current_loop();
        CHECK(&here == &*loop);
    });
    CHECK(result);
}

TEST_CASE("with_timeout and shield take operations and tasks, even if created earlier") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto result = loop->run([&]() -> Task<> {
        TcpStream stream(std::move(pair.first));
        TcpStream peer(std::move(pair.second));
        Event event("told");
        auto late = co_await with_timeout(1ms, stream.recv());
        CHECK(late.error() == std::errc::timed_out);
        auto never = co_await with_timeout(1ms, event.wait());
        CHECK(never.error() == std::errc::timed_out);
        event.set();
        auto told = co_await with_timeout(1h, event.wait());
        CHECK(told);
        auto task = co_await with_timeout(1h, wait_and_give(&event, 5));
        CHECK((task && *task == 5));
        auto sending = with_timeout(1h, peer.send_all("kept")); // it owns the operation
        auto sent = co_await sending;
        CHECK(sent);
        auto chunk = co_await with_deadline(Clock::now() + 1h, stream.recv());
        CHECK((chunk && chunk->text() == "kept"));
        Sleep named = sleep_for(1ms);
        auto slept = co_await with_timeout(1h, named);
        CHECK(slept);
        auto nested = co_await with_timeout(1ms, with_timeout(1h, stream.recv()));
        CHECK(nested.error() == std::errc::timed_out);
        auto any = co_await with_timeout(1h, when_any(stream.recv(), sleep_for(1ms)));
        CHECK((any && any->index == 1));
        auto closed = co_await shield(peer.close());
        CHECK(closed);
    });
    CHECK(result);
    check_nothing_left(*loop);
}
