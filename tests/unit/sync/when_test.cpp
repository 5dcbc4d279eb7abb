#include <ringlet/when.hpp>

#include "net.hpp"

#include <stdexcept>
#include <string>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

Task<Result<int>> give(int value) {
    auto turned = co_await yield();
    if (!turned) co_return turned.error();
    co_return value;
}

Task<Result<int>> fail(std::errc error) { co_return error; }

Task<Result<int>> number_when(Event* event, int value) {
    auto told = co_await event->wait();
    if (!told) co_return told.error();
    co_return value;
}

} // namespace

TEST_CASE("when_all returns the result of every task and operation") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    REQUIRE(write_all(pair.second.get(), "data"));
    Event event("told");
    event.set();
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            auto all = co_await when_all(give(1), stream.recv(), event.wait(), sleep_for(1ms));
            auto& [value, chunk, told, slept] = all;
            REQUIRE(value);
            CHECK(*value == 1);
            REQUIRE(chunk);
            CHECK(text_of(*chunk) == "data");
            CHECK(told);
            CHECK(slept);
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("the first failure in when_all cancels the others, and an exception is rethrown") {
    ReportingLoop loop;
    Event never("never");
    auto result = loop->run([&]() -> Task<> {
        auto all = co_await when_all(never.wait(), fail(std::errc::no_link), sleep_for(1h));
        CHECK(std::get<0>(all).error() == std::errc::operation_canceled);
        CHECK(std::get<1>(all).error() == std::errc::no_link);
        CHECK(std::get<2>(all).error() == std::errc::operation_canceled);

        auto raises = []() -> Task<> {
            auto turned = co_await yield();
            static_cast<void>(turned);
            throw std::runtime_error("out");
        };
        std::string caught;
        try {
            auto both = co_await when_all(sleep_for(1h), raises());
            CHECK_FALSE(std::get<0>(both));
        } catch (const std::runtime_error& thrown) {
            caught = thrown.what();
        }
        CHECK(caught == "out");
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("when_any cancels the others when one has ended") {
    ReportingLoop loop;
    auto pair = tcp_pair();
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            auto ended = co_await when_any(stream.recv(), give(3), sleep_for(1h));
            CHECK(ended.index == 1);
            auto& [chunk, value, slept] = ended.results;
            CHECK(chunk.error() == std::errc::operation_canceled);
            REQUIRE(value);
            CHECK(*value == 3);
            CHECK(slept.error() == std::errc::operation_canceled);
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("when_any keeps a success that comes before its cancellation") {
    ReportingLoop loop;
    Event go("go");
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            go.set();
            co_return;
        });
        auto ended = co_await when_any(number_when(&go, 1), number_when(&go, 2));
        CHECK(ended.index == 0);
        auto& [first, second] = ended.results;
        REQUIRE(first);
        REQUIRE(second);
        CHECK(*first == 1);
        CHECK(*second == 2);
    });
    CHECK(result);
}

TEST_CASE("when_all in a cancelled scope is refused, and a cancellation reaches its tasks") {
    ReportingLoop loop;
    Event never("never");
    auto result = loop->run([&]() -> Task<> {
        auto task = [&]() -> Task<Result<void>> {
            auto cut = co_await when_all(never.wait(), number_when(&never, 1));
            CHECK(std::get<0>(cut).error() == std::errc::operation_canceled);
            CHECK(std::get<1>(cut).error() == std::errc::operation_canceled);
            auto refused = co_await when_all(never.wait(), give(1));
            CHECK(std::get<1>(refused).error() == std::errc::operation_canceled);
            co_return std::get<0>(refused).error();
        };
        auto done = co_await with_timeout(1ms, task);
        CHECK(done.error() == std::errc::timed_out);
    });
    CHECK(result);
    check_nothing_left(*loop);
}
