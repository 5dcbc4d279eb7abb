#include "serve/stop_signals.hpp"

#include "net.hpp"

#include <csignal>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

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

TEST_CASE("a server says that another thread would take its SIGTERM, and nothing else") {
    if (thread_sanitizer_runs) RINGLET_SKIP("TSan has a thread of its own");
    const auto lines = reports_with_a_thread(false);
    REQUIRE(lines.size() == 1);
    CHECK(lines.front().find("do not block SIGTERM") != std::string::npos);
    CHECK(reports_with_a_thread(true).empty());
}
