#include <ringlet/yield.hpp>

#include "net.hpp"

#include <string>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("tasks that yield take turns in FIFO order") {
    ReportingLoop loop;
    std::string trace;
    auto worker = [&](char name) -> Task<> {
        for (int round = 0; round < 3; ++round) {
            trace += name;
            auto turned = co_await yield();
            CHECK(turned);
        }
    };
    auto result = loop->run([&]() -> Task<> {
        for (const char name : {'a', 'b', 'c'}) loop->spawn(worker, name);
        while (loop->stats().live_tasks > 1) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(trace == "abcabcabc");
}

TEST_CASE("yield in a child suspends the whole task, and resumes in the child") {
    ReportingLoop loop;
    std::string trace;
    auto child = [&]() -> Task<int> {
        trace += '1';
        static_cast<void>(co_await yield());
        trace += '3';
        co_return 4;
    };
    auto result = loop->run([&]() -> Task<int> {
        loop->spawn([&]() -> Task<> {
            trace += '2';
            co_return;
        });
        auto value = co_await child();
        trace += '4';
        co_return value;
    });
    REQUIRE(result);
    CHECK(*result == 4);
    CHECK(trace == "1234");
}

TEST_CASE("yield makes no submission") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<std::uint64_t> {
        static_cast<void>(co_await yield());
        const auto before = loop->stats().ring.submissions;
        for (int i = 0; i < 1000; ++i) static_cast<void>(co_await yield());
        co_return loop->stats().ring.submissions - before;
    });
    REQUIRE(result);
    CHECK(*result == 0);
}

TEST_CASE("yield in a cancelled task is refused at once") {
    ReportingLoop loop;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            for (;;) {
                auto turned = co_await yield();
                if (turned) continue;
                CHECK(turned.error() == std::errc::operation_canceled);
                auto again = co_await yield();
                CHECK(again.error() == std::errc::operation_canceled);
                trace += "told";
                co_return;
            }
        });
        for (int i = 0; i < 5; ++i) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(trace == "told");
    check_nothing_left(*loop);
}
