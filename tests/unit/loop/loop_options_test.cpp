// Every numeric option at its limits: 0, 1, the largest value and the one before it, and negative values where the
// type has them. The largest value means never, or no limit; a value without meaning is refused with a line.

#include <ringlet/loop_options.hpp>

#include "net.hpp"

#include <ringlet/server.hpp>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

template <class T>
std::vector<T> limits_of() {
    using Limits = std::numeric_limits<T>;
    return {T(0), T(1), T(Limits::max() - 1), Limits::max()};
}
template <class Duration>
std::vector<Duration> durations() {
    return {Duration::zero(), Duration(1),  Duration::max() - Duration(1),
            Duration::max(),  Duration(-1), Duration::min()};
}

struct Setting {
    std::string name;
    std::function<void(LoopOptions&)> set;
    bool is_refused = false;
};

template <class T, class Values>
void add(std::vector<Setting>& settings, const std::string& name, T LoopOptions::* option,
         const Values& values, std::size_t refused_up_to = 0) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        settings.push_back({name + " " + std::to_string(i),
                            [=](LoopOptions& options) { options.*option = values[i]; },
                            i < refused_up_to});
    }
}

std::vector<Setting> all_settings() {
    std::vector<Setting> settings;
    add(settings, "ring_entries", &LoopOptions::ring_entries, limits_of<unsigned>(), 1);
    add(settings, "buffer_limit", &LoopOptions::buffer_limit, limits_of<std::size_t>(), 1);
    add(settings, "park_after", &LoopOptions::park_after, durations<std::chrono::milliseconds>());
    add(settings, "stall_limit", &LoopOptions::stall_limit, durations<std::chrono::milliseconds>());
    add(settings, "busy_poll", &LoopOptions::busy_poll, durations<std::chrono::microseconds>());
    add(settings, "blocking_threads", &LoopOptions::blocking_threads, limits_of<std::size_t>());
    return settings;
}

double cpu_seconds() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

// An echo, a job on another thread, and some idle time.
Task<Result<void>> use_everything() {
    auto pair = socket_pair();
    TcpStream left(std::move(pair.first)), right(std::move(pair.second));
    auto job = [] { return 7; };
    auto seven = co_await run_blocking(job);
    if (!seven) co_return seven.error();
    for (int i = 0; i < 3; ++i) {
        auto sent = co_await left.send_all(std::as_bytes(std::span("hello")));
        if (!sent) co_return sent;
        auto chunk = co_await right.recv();
        if (!chunk) co_return chunk.error();
        auto slept = co_await sleep_for(20ms);
        if (!slept) co_return slept;
    }
    co_return Result<void>();
}

} // namespace

TEST_CASE("every loop option at its limits is refused with a line, or works without spinning") {
    for (const Backend backend : {Backend::io_uring, Backend::epoll}) {
        if (!EventLoop::create({.backend = backend})) continue;
        for (const Setting& setting : all_settings()) {
            CAPTURE(setting.name);
            waiting_for("a loop with an option at its limit");
            std::vector<std::string> lines;
            LoopOptions options{.backend = backend};
            options.report = [&](std::string_view line) { lines.emplace_back(line); };
            setting.set(options);
            auto loop = EventLoop::create(options);
            CHECK(loop.has_value() != setting.is_refused);
            if (!loop) {
                CHECK(loop.error() == std::errc::invalid_argument);
                REQUIRE(lines.size() == 1);
                CHECK(lines[0].find(setting.name.substr(0, setting.name.find(' '))) !=
                      std::string::npos);
                continue;
            }
            const auto turns = loop->stats().turns;
            auto used = loop->run(use_everything);
            CHECK_MESSAGE(used, used.error().message());
            CHECK(loop->stats().turns - turns < 2000);
        }
    }
}

TEST_CASE("a watchdog with the largest limit costs nothing") {
    LoopOptions options{.stall_limit = std::chrono::milliseconds::max()};
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    const double before = cpu_seconds();
    auto slept = loop->run([]() -> Task<Result<void>> {
        auto done = co_await sleep_for(300ms);
        co_return done;
    });
    CHECK(slept);
    CHECK(cpu_seconds() - before < 0.2);
}

TEST_CASE("every duration and limit of a server at its limits serves an echo, and does not spin") {
    std::vector<std::pair<std::string, std::function<void(ServeOptions&)>>> settings;
    for (const auto duration : durations<std::chrono::milliseconds>()) {
        if (duration != 1ms) // it would end the connection before its echo
            settings.emplace_back("idle_timeout",
                                  [=](ServeOptions& options) { options.idle_timeout = duration; });
        settings.emplace_back("drain_timeout",
                              [=](ServeOptions& options) { options.drain_timeout = duration; });
    }
    for (const auto limit : limits_of<std::size_t>()) {
        settings.emplace_back("max_connections",
                              [=](ServeOptions& options) { options.max_connections = limit; });
    }
    for (const int backlog :
         {0, 1, std::numeric_limits<int>::max() - 1, std::numeric_limits<int>::max(), -1,
          std::numeric_limits<int>::min()}) {
        settings.emplace_back("backlog",
                              [=](ServeOptions& options) { options.socket.backlog = backlog; });
    }
    for (const auto& [name, set] : settings) {
        CAPTURE(name);
        waiting_for("an echo of a server with an option at its limit");
        ServeOptions options{.listen = "127.0.0.1:0"};
        options.handle_signals = false;
        options.loop.report = [](std::string_view) {};
        set(options);
        auto server = Server::create(options);
        REQUIRE(server);
        bool echoed = false;
        server->loop().spawn([&]() -> Task<> {
            auto stream = co_await TcpStream::connect(server->local());
            if (stream) {
                auto slept = co_await sleep_for(30ms);
                auto sent = co_await stream->send_all(std::as_bytes(std::span("ping")));
                auto chunk = co_await stream->recv();
                echoed = slept && sent && chunk && chunk->size() == 5;
            }
            server->stop();
        });
        auto served = server->run([](TcpStream stream) -> Task<> {
            for (;;) {
                auto chunk = co_await stream.recv();
                if (!chunk || chunk->empty()) co_return;
                auto sent = co_await stream.send_all(*chunk);
                if (!sent) co_return;
            }
        });
        CHECK(served);
        CHECK(echoed);
        CHECK(server->loop().stats().turns < 2000);
    }
}

TEST_CASE("durations saturate and sleeps and deadlines work at the ends of the clock") {
    using Moment = Clock::time_point;
    using std::chrono::duration;
    CHECK(saturated(std::chrono::hours::max()) == Clock::duration::max());
    CHECK(saturated(std::chrono::hours::min()) == Clock::duration::min());
    CHECK(saturated(std::chrono::nanoseconds::max()) == Clock::duration::max());
    CHECK(saturated(duration<double>(std::numeric_limits<double>::infinity())) ==
          Clock::duration::max());
    CHECK(saturated(duration<double>(-std::numeric_limits<double>::infinity())) ==
          Clock::duration::min());
    CHECK(saturated(duration<double>(std::numeric_limits<double>::quiet_NaN())) ==
          Clock::duration::zero());
    CHECK(saturated(duration<double, std::nano>(0.5)) == 1ns); // never early
    CHECK(saturated(5ms) == 5ms);
    CHECK(later(Moment::max(), 1ns) == Moment::max());
    CHECK(later(Moment::min(), -1ns) == Moment::min());
    CHECK(later(Moment(), Clock::duration::max()) == Moment::max());
    CHECK(later(Moment(5ns), 2ns) == Moment(7ns));
    CHECK(between(Moment::min(), Moment::max()) == Clock::duration::max());
    CHECK(between(Moment::max(), Moment::min()) == Clock::duration::min());
    CHECK(between(Moment(5ns), Moment(7ns)) == 2ns);
    for (const auto moment :
         {Moment::min(), Moment::min() + 1ns, Moment(), Moment::max() - 1ns, Moment::max()}) {
        waiting_for("sleeps and deadlines at the ends of the clock");
        const bool is_past = moment <= Clock::now();
        for (const Backend backend : {Backend::io_uring, Backend::epoll}) {
            auto loop = EventLoop::create({.backend = backend});
            if (!loop) continue;
            auto ran = loop->run([&]() -> Task<> {
                auto wait = [&]() -> Task<Result<void>> {
                    auto slept = co_await sleep_until(moment);
                    co_return slept;
                };
                auto slept = co_await with_timeout(is_past ? Clock::duration::max() : 5ms, wait);
                CHECK(slept.error() ==
                      (is_past ? std::error_code() : std::make_error_code(std::errc::timed_out)));
                auto nap = []() -> Task<Result<void>> {
                    auto napped = co_await sleep_for(5ms);
                    co_return napped;
                };
                auto in_time = co_await with_deadline(moment, nap);
                CHECK(in_time.error() ==
                      (is_past ? std::make_error_code(std::errc::timed_out) : std::error_code()));
            });
            CHECK(ran);
        }
    }
}
