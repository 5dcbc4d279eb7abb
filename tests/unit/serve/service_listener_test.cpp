#include "serve/service_listener.hpp"

#include <ringlet/deadline.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/task_group.hpp>

#include "death.hpp"
#include "net.hpp"
#include "refusal.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t few =
    100; // turns in a quarter of a second; a busy loop makes many thousands

StreamListener listen() {
    auto listener = StreamListener::bind(loopback(), {});
    REQUIRE(listener);
    return std::move(*listener);
}

std::vector<Backend> backends() {
    if (probe_io_uring()) return {Backend::epoll};
    return {Backend::epoll, Backend::io_uring};
}

// Returns 0, or the step that failed.
Task<Result<int>> goes_on(EventLoop& loop, ServiceListener& listener, std::vector<UniqueFd>& fill) {
    int served = 0;
    auto serve = [&served](StreamSocket stream) -> Task<> {
        ++served;
        auto sent = co_await stream.send_all("x");
        static_cast<void>(sent);
    };
    auto body = [&](TaskGroup& group) -> Task<Result<int>> {
        group.spawn([&] { return listener.serve_clients(4, serve); });
        const auto before = loop.stats().turns;
        auto slept = co_await sleep_for(250ms);
        if (!slept) co_return slept.error();
        const bool is_busy = loop.stats().turns - before > few;
        fill.clear();
        for (int i = 0; i < 1000 && served == 0; ++i) slept = co_await sleep_for(10ms);
        group.cancel();
        if (is_busy) co_return 3;
        co_return served == 1 ? 0 : 4;
    };
    auto outcome = co_await with_task_group(body);
    co_return outcome;
}

} // namespace

TEST_CASE("a service accepts clients one by one, up to its limit at a time") {
    for (const Backend backend : backends()) {
        CAPTURE(to_string(backend));
        auto loop = EventLoop::create({.backend = backend});
        REQUIRE(loop);
        ServiceListener listener(listen(), "few");
        std::vector<UniqueFd> clients;
        for (int i = 0; i < 5; ++i) clients.push_back(connect_to(listener.address()));
        std::size_t now = 0;
        std::size_t most = 0;
        int served = 0;
        auto serve = [&](StreamSocket) -> Task<> {
            most = std::max(most, ++now);
            auto slept = co_await sleep_for(5ms);
            static_cast<void>(slept);
            --now;
            if (++served == 5) loop->stop();
        };
        auto run = loop->run([&] { return listener.serve_clients(2, serve); });
        static_cast<void>(run); // stopped
        CHECK(served == 5);
        CHECK(most == 2);
    }
}

TEST_CASE("a service continues when descriptors are free again") {
    for (const Backend backend : backends()) {
        CAPTURE(to_string(backend));
        const Ending ending = end_of_child([backend] {
            const rlimit limit{.rlim_cur = 64, .rlim_max = 64};
            if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
            auto loop = EventLoop::create({.backend = backend});
            ServiceListener listener(listen(), "few");
            const UniqueFd client = connect_to(listener.address());
            std::vector<UniqueFd> fill;
            for (int fd = ::dup(STDERR_FILENO); fd >= 0; fd = ::dup(STDERR_FILENO))
                fill.emplace_back(fd);
            auto result = loop->run([&] { return goes_on(*loop, listener, fill); });
            return result ? *result : 5;
        });
        CHECK(ending.signal == 0);
        CHECK_MESSAGE(ending.status == 0, ending.errors);
    }
}

TEST_CASE("a wait for a client can be cancelled") {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    ServiceListener listener(listen(), "few");
    auto result = loop->run([&]() -> Task<Result<void>> {
        auto wait = [&]() -> Task<Result<void>> {
            auto client = co_await listener.next_client();
            co_return client.error();
        };
        auto waited = co_await with_timeout(10ms, wait);
        co_return waited;
    });
    CHECK(result.error() == std::errc::timed_out);
}
