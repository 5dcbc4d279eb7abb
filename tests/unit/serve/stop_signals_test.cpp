#include "serve/stop_signals.hpp"

#include <ringlet/event_loop.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/task_group.hpp>

#include "net.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <future>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

// What is reported while another thread runs, with SIGTERM blocked or not.
std::vector<std::string> reports_with_a_thread(bool blocks) {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    std::promise<void> started;
    std::promise<void> may_end;
    std::thread other([&] {
        ::pthread_sigmask(blocks ? SIG_BLOCK : SIG_UNBLOCK, &term, nullptr);
        started.set_value();
        may_end.get_future().wait();
    });
    started.get_future().wait();
    std::vector<std::string> lines;
    ServeOptions options;
    options.loop.report = [&](std::string_view line) { lines.emplace_back(line); };
    auto watch = watch_stop_signals(options);
    CHECK(watch);
    may_end.set_value();
    other.join();
    return lines;
}

} // namespace

TEST_CASE("a server reports a thread that would take its SIGTERM, and nothing else") {
    if (thread_sanitizer_runs) RINGLET_SKIP("TSan has a thread of its own");
    const auto lines = reports_with_a_thread(false);
    REQUIRE(lines.size() == 1);
    CHECK(lines.front().find("do not block SIGTERM") != std::string::npos);
    CHECK(reports_with_a_thread(true).empty());
}

TEST_CASE("a server keeps watching its signals after a lasting error, without spinning") {
    for (const Backend backend : {Backend::epoll, Backend::automatic}) {
        CAPTURE(to_string(backend));
        auto loop = EventLoop::create({.backend = backend});
        REQUIRE(loop);
        std::vector<std::string> lines;
        ServeOptions options;
        options.loop.report = [&](std::string_view line) { lines.emplace_back(line); };
        auto signals = SignalStream::create({SIGUSR1});
        REQUIRE(signals);
        // Its descriptor has this number; for a while it is a folder, which cannot be read.
        const int fd = [] {
            for (int number = 3; number < 1000; ++number) {
                std::array<char, 64> target{};
                const std::string path = "/proc/self/fd/" + std::to_string(number);
                if (::readlink(path.c_str(), target.data(), target.size() - 1) > 0 &&
                    std::string_view(target.data()) == "anon_inode:[signalfd]") {
                    return number;
                }
            }
            return -1;
        }();
        REQUIRE(fd >= 0);
        const UniqueFd kept(::dup(fd));
        const UniqueFd folder(::open("/", O_RDONLY | O_CLOEXEC));
        ::dup2(folder.get(), fd);
        int seen = 0;
        std::uint64_t turns = 0;
        auto run = loop->run([&]() -> Task<> {
            auto watch = [&]() -> Task<> {
                auto number = co_await next_signal(*signals, options);
                if (number) seen = *number;
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(watch);
                const auto before = loop->stats().turns;
                auto slept = co_await sleep_for(std::chrono::milliseconds(200));
                turns = loop->stats().turns - before;
                ::dup2(kept.get(), fd);
                ::pthread_kill(::pthread_self(), SIGUSR1);
                for (int i = 0; i < 1000 && seen == 0 && slept; ++i)
                    slept = co_await sleep_for(std::chrono::milliseconds(10));
                group.cancel();
            };
            auto ended = co_await with_task_group(body);
            static_cast<void>(ended);
        });
        CHECK(run);
        CHECK(seen == SIGUSR1);
        CHECK(turns < 100);
        REQUIRE(lines.size() == 1);
        CHECK(lines[0].starts_with("signals cannot be read: "));
    }
}
