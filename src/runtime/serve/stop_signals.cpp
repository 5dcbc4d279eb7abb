#include "serve/stop_signals.hpp"

#include <ringlet/sleep.hpp>

#include "base/kernel.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

namespace ringlet {

namespace {

// proc(5): the masks are in hexadecimal, the lowest bit is signal 1.
bool blocks_sigterm(const std::filesystem::path& task) {
    std::ifstream status(task / "status");
    for (std::string line; std::getline(status, line);) {
        if (!line.starts_with("SigBlk:")) continue;
        return (std::strtoull(line.c_str() + 7, nullptr, 16) >> (SIGTERM - 1) & 1) != 0;
    }
    return true; // the thread has ended
}

std::size_t count_threads_that_take_sigterm() {
    const std::string self = std::to_string(::syscall(SYS_gettid));
    std::size_t count = 0;
    std::error_code failed;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", failed)) {
        if (task.path().filename() != self && !blocks_sigterm(task.path())) ++count;
    }
    return count;
}

} // namespace

Result<SignalStream> watch_stop_signals(const ServeOptions& options) {
    std::vector<int> numbers{SIGTERM, SIGINT, SIGQUIT};
    if (options.dump_signal != 0) numbers.push_back(options.dump_signal);
    numbers.insert(numbers.end(), options.hook_signals.begin(), options.hook_signals.end());
    auto watch = SignalStream::create(std::span<const int>(numbers));
    Kernel& kernel = Kernel::of_this_thread();
    if (!watch || !kernel.has_more_threads(1)) return watch;
    if (const std::size_t others = count_threads_that_take_sigterm()) {
        report_line(
            options.loop.report,
            std::to_string(others) +
                " other threads of this program do not block SIGTERM: one that goes to them "
                "ends the program without a drain. Start them after the server was made, "
                "or with SIGTERM and SIGINT blocked");
    }
    return watch;
}

Task<Result<int>> next_signal(SignalStream& signals, const ServeOptions& options) {
    for (auto pause = Server::accept_pause_first;;) {
        auto seen = co_await signals.next();
        if (seen || seen.error() == std::errc::operation_canceled) co_return seen;
        if (pause == Server::accept_pause_first)
            report_line(options.loop.report, "signals cannot be read: " + seen.error().message());
        auto slept = co_await sleep_for(pause);
        if (!slept) co_return slept.error();
        pause = std::min(2 * pause, Server::accept_pause_limit);
    }
}

} // namespace ringlet
