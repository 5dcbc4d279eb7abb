// Which backend a loop gets if io_uring is refused.

#include "ring/make_ring.hpp"

#include "death.hpp"
#include "refusal.hpp"

#include <ringlet/ringlet.hpp>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/syscall.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

// Exit statuses of a child, so that a failure shows its cause.
enum : int { fine, no_loop, wrong_backend, wrong_reason, not_told_once, does_not_work };

int falls_back(long refused_call, int error) {
    ::unsetenv("RINGLET_BACKEND");
    refuse_system_call(refused_call, error);
    std::vector<std::string> lines;
    LoopOptions options;
    options.report = [&](std::string_view line) { lines.emplace_back(line); };
    auto loop = EventLoop::create(options);
    if (!loop) return no_loop;
    if (loop->backend().backend != Backend::epoll) return wrong_backend;
    if (loop->stats().backend != Backend::epoll) return wrong_backend;
    const auto insisted = EventLoop::create({.backend = Backend::io_uring});
    if (insisted || loop->backend().refusal != insisted.error()) return wrong_reason;
    if (lines.size() != 1 || lines[0].find(insisted.error().message()) == std::string::npos) {
        return not_told_once;
    }
    auto slept = loop->run([]() -> Task<Result<void>> {
        auto result = co_await sleep_for(std::chrono::milliseconds(1));
        co_return result;
    });
    return slept ? fine : does_not_work;
}

} // namespace

TEST_CASE("automatic takes epoll when io_uring is refused for any reason, and reports it") {
    for (const int error : {EPERM, ENOSYS, EOPNOTSUPP, ENOMEM, EINVAL, EACCES, EFAULT, ENXIO}) {
        CAPTURE(error);
        const auto at_setup = run_in_child([=] { return falls_back(SYS_io_uring_setup, error); });
        CHECK_MESSAGE(at_setup.succeeded(), at_setup.to_string());
    }
}

TEST_CASE("automatic takes epoll when io_uring can be set up but not used") {
    for (const int error : {EPERM, ENOSYS, EACCES, EAGAIN}) {
        CAPTURE(error);
        const auto at_probe = run_in_child([=] { return falls_back(SYS_io_uring_enter, error); });
        CHECK_MESSAGE(at_probe.succeeded(), at_probe.to_string());
    }
}

TEST_CASE("the environment decides only for automatic") {
    const auto outcome = run_in_child([] {
        BackendChoice choice;
        ::setenv("RINGLET_BACKEND", "epoll", 1);
        if (!make_ring(Backend::automatic, {.entries = 8}, choice)) return no_loop;
        if (choice.backend != Backend::epoll || choice.refusal) return wrong_backend;
        if (make_ring(Backend::io_uring, {.entries = 8}, choice) &&
            choice.backend != Backend::io_uring) {
            return wrong_backend;
        }
        ::setenv("RINGLET_BACKEND", "kqueue", 1);
        if (make_ring(Backend::automatic, {.entries = 8}, choice).error() !=
            Errc::unknown_backend) {
            return wrong_reason;
        }
        if (!make_ring(Backend::epoll, {.entries = 8}, choice)) return no_loop;
        ::setenv("RINGLET_WITHOUT",
                 "defer_taskrun,wait_with_timeout,registered_ring,accept_poll_first,"
                 "multishot_accept",
                 1);
        if (!make_ring(Backend::epoll, {.entries = 8}, choice)) return no_loop;
        ::setenv("RINGLET_WITHOUT", "defer_taskrun,wings", 1);
        if (make_ring(Backend::epoll, {.entries = 8}, choice).error() != Errc::unknown_feature) {
            return wrong_reason;
        }
        ::unsetenv("RINGLET_WITHOUT");
        ::setenv("RINGLET_WITH", "multishot_accept", 1);
        if (!make_ring(Backend::epoll, {.entries = 8}, choice)) return no_loop;
        ::setenv("RINGLET_WITH", "multishot_accept,fins", 1);
        const auto refused = make_ring(Backend::epoll, {.entries = 8}, choice);
        return refused.error() == Errc::unknown_feature ? fine : wrong_reason;
    });
    CHECK_MESSAGE(outcome.succeeded(), outcome.to_string());
}

TEST_CASE("each feature of io_uring can be switched off, and all at once") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    for (int off = 0; off < 4; ++off) {
        CAPTURE(off);
        LoopOptions options;
        options.backend = Backend::io_uring;
        options.features.defer_taskrun = off != 0 && off != 3;
        options.features.registered_ring = off != 1 && off != 3;
        options.features.wait_with_timeout = off != 2 && off != 3;
        auto loop = EventLoop::create(options);
        REQUIRE(loop);
        const auto submissions = loop->stats().ring.submissions;
        const auto begin = Clock::now();
        auto slept = loop->run([]() -> Task<Result<void>> {
            auto result = co_await sleep_for(std::chrono::milliseconds(5));
            co_return result;
        });
        CHECK(slept);
        CHECK(Clock::now() - begin >= std::chrono::milliseconds(5));
        // One submission watches for wakes; without wait_with_timeout a deadline takes another one.
        const bool travels = options.features.wait_with_timeout;
        CHECK((loop->stats().ring.submissions - submissions > 1) == !travels);
    }
}
