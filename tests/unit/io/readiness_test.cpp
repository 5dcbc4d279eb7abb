#include <ringlet/readiness.hpp>

#include "echo.hpp"
#include "net.hpp"

#include <chrono>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("a task can wait until a foreign descriptor is readable") {
    auto pair = socket_pair();
    ReportingLoop loop;
    auto talk = [&]() -> Task<> {
        const int fd = pair.first.get();
        auto early = co_await with_timeout(5ms, readable(fd));
        CHECK(early.error() == std::errc::timed_out);
        auto write = [&]() -> Task<> {
            auto slept = co_await sleep_for(1ms);
            CHECK(slept);
            CHECK(::write(pair.second.get(), "x", 1) == 1);
        };
        auto wait = [&]() -> Task<> {
            auto ready = co_await readable(fd);
            CHECK(ready);
        };
        // Two tasks wait for the same event, a third for another.
        auto all = [&](TaskGroup& group) -> Task<> {
            group.spawn(wait);
            group.spawn(wait);
            group.spawn(write);
            auto takes = co_await writable(fd);
            CHECK(takes);
        };
        auto done = co_await with_task_group(all);
        CHECK(done);
        // Still readable: nothing was read.
        auto events = co_await poll_events(fd, POLLIN | POLLOUT);
        CHECK((events && *events == (POLLIN | POLLOUT)));
        pair.second.reset();
        auto over = co_await readable(fd);
        CHECK(over);
        events = co_await poll_events(fd, POLLIN);
        CHECK((events && (*events & POLLHUP) != 0));
    };
    CHECK(loop->run(talk));
    check_nothing_left(*loop);
}

TEST_CASE("a descriptor number that a library closes and reuses is a new descriptor") {
    auto talk = []() -> Task<> {
        for (int round = 0; round < 20; ++round) {
            const UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
            auto nothing = co_await with_timeout(1ms, readable(fd.get()));
            CHECK(nothing.error() == std::errc::timed_out);
            const std::uint64_t one = 1;
            CHECK(::write(fd.get(), &one, sizeof one) == sizeof one);
            auto ready = co_await readable(fd.get());
            CHECK(ready);
        }
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a file is always ready, and an invalid descriptor is an error") {
    auto talk = []() -> Task<> {
        const UniqueFd file(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
        auto ready = co_await readable(file.get());
        CHECK(ready);
        auto closed = co_await readable(1'000'000);
        CHECK(closed.error() == std::errc::bad_file_descriptor);
        auto none = co_await writable(-1);
        CHECK(none.error() == std::errc::bad_file_descriptor);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("cancelled waits for foreign descriptors leak no descriptor") {
    auto pair = socket_pair();
    const std::size_t before = descriptor_count();
    auto talk = [&]() -> Task<> {
        for (int round = 0; round < 100; ++round) {
            auto ended = co_await when_any(readable(pair.first.get()), yield());
            CHECK(ended.index == 1);
        }
    };
    CHECK(run_on_loop(talk));
    CHECK(descriptor_count() == before);
}
