#include <ringlet/run_blocking.hpp>

#include "net.hpp"

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("run_blocking gives what the function returns, on another thread") {
    ReportingLoop loop;
    auto result = loop->run([&]() -> Task<> {
        auto add = [](int left, int right) { return left + right; };
        auto sum = co_await run_blocking(add, 2, 3);
        REQUIRE(sum);
        CHECK(*sum == 5);
        auto thread = co_await run_blocking(std::this_thread::get_id);
        REQUIRE(thread);
        CHECK(*thread != std::this_thread::get_id());
        std::atomic<bool> ran = false;
        auto nothing = [&ran] { ran = true; };
        auto done = co_await run_blocking(nothing);
        CHECK(done);
        CHECK(ran);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("what the function throws is thrown") {
    ReportingLoop loop;
    std::string caught;
    auto result = loop->run([&]() -> Task<> {
        auto raises = []() -> int { throw std::runtime_error("out"); };
        try {
            auto value = co_await run_blocking(raises);
            CHECK_FALSE(value);
        } catch (const std::runtime_error& thrown) {
            caught = thrown.what();
        }
    });
    CHECK(result);
    CHECK(caught == "out");
}
