#include <ringlet/signal_stream.hpp>

#include "net.hpp"

#include <csignal>
#include <optional>
#include <thread>

#include <pthread.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

bool is_blocked(int number) {
    sigset_t mask;
    sigemptyset(&mask);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, number) == 1;
}

} // namespace

TEST_CASE("signals raised before or during the wait are read one by one") {
    auto watch = SignalStream::create({SIGTERM, SIGINT});
    REQUIRE(watch);
    ReportingLoop loop;
    // To this thread, which blocks them: elsewhere the default action would end the program.
    const pthread_t self = ::pthread_self();
    waiting_for("SIGTERM and SIGINT through the ring");
    auto result = loop->run([&]() -> Task<> {
        ::pthread_kill(self, SIGTERM);
        auto early = co_await watch->next();
        CHECK(early);

        loop->spawn([&]() -> Task<> {
            while (loop->stats().operations_in_flight == 0) static_cast<void>(co_await yield());
            static_cast<void>(co_await sleep_for(std::chrono::nanoseconds(0)));
            ::pthread_kill(self, SIGINT);
        });
        auto late = co_await watch->next();
        CHECK(late);

        ::pthread_kill(self, SIGTERM);
        ::pthread_kill(self, SIGINT);
        auto first = co_await watch->next();
        CHECK(first);
        auto second = co_await watch->next();
        CHECK(second);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a signal from another thread wakes a loop that sleeps in the kernel") {
    auto watch = SignalStream::create({SIGTERM, SIGINT});
    REQUIRE(watch);
    const pthread_t self = ::pthread_self();
    std::thread other;
    waiting_for("a signal from another thread");
    auto result = run_on_loop([&]() -> Task<Result<int>> {
        other = std::thread([&] { ::pthread_kill(self, SIGTERM); });
        auto seen = co_await watch->next();
        co_return seen;
    });
    other.join();
    REQUIRE(result);
    CHECK(*result == SIGTERM);
}

TEST_CASE("waiting for a signal ends with operation_canceled when the loop is left") {
    auto watch = SignalStream::create({SIGTERM, SIGINT});
    REQUIRE(watch);
    ReportingLoop loop;
    std::error_code seen;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            auto signal = co_await watch->next();
            seen = signal.error();
        });
        while (loop->stats().operations_in_flight == 0) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(seen == std::errc::operation_canceled);
}

TEST_CASE("signals are blocked only while their SignalStream lives") {
    REQUIRE_FALSE(is_blocked(SIGTERM));
    const std::size_t open_before = descriptor_count();
    {
        auto watch = SignalStream::create({SIGTERM, SIGINT});
        REQUIRE(watch);
        CHECK(is_blocked(SIGTERM));
        CHECK(is_blocked(SIGINT));
        CHECK_FALSE(is_blocked(SIGHUP));
        const SignalStream moved = std::move(*watch);
        watch = std::errc::no_message; // destroys the moved-from one
        CHECK(is_blocked(SIGTERM));
    }
    CHECK_FALSE(is_blocked(SIGTERM));
    CHECK_FALSE(is_blocked(SIGINT));
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("a signal that was already blocked stays blocked afterwards") {
    sigset_t before;
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &interrupt, &before);
    {
        auto watch = SignalStream::create({SIGTERM, SIGINT});
        REQUIRE(watch);
    }
    CHECK(is_blocked(SIGINT));
    CHECK_FALSE(is_blocked(SIGTERM));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_CASE("a signal that comes after the last read does not end the program") {
    const Ending ending = end_of_child([] {
        auto watch = std::make_optional(SignalStream::create({SIGTERM, SIGINT}));
        if (!*watch) return 2;
        ::raise(SIGTERM);
        auto seen = run_on_loop([&]() -> Task<Result<int>> {
            auto signal = co_await (*watch)->next();
            co_return signal;
        });
        if (!seen) return 4;
        ::raise(SIGTERM);
        ::raise(SIGINT);
        watch.reset();
        return is_blocked(SIGTERM) ? 3 : 0;
    });
    CHECK(ending.signal == 0);
    CHECK(ending.status == 0);
}

TEST_CASE("a signal that a SignalStream never read takes effect when it is destroyed") {
    const Ending ending = end_of_child([] {
        auto watch = std::make_optional(SignalStream::create({SIGTERM, SIGINT}));
        if (!*watch) return 2;
        ::raise(SIGTERM);
        watch.reset();
        return 0;
    });
    CHECK(ending.signal == SIGTERM);
}
