// Keeps programs running: supervisor COMMAND [COMMAND ...], each a line for the shell.
//
// A program that ends is started again, after a pause that doubles as long as it does not stay up. The programs' output
// goes to stdout with the name in front. SIGTERM ends all of them, SIGHUP restarts all of them.
//
// Try it:  ./example_supervisor 'while sleep 1; do date; done' 'sleep 3; exit 1'

#include <ringlet/ringlet.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include <sysexits.h>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr auto first_pause = 100ms;
constexpr auto longest_pause = 30s;
constexpr auto long_enough = 10s; // a program that ran for so long has started

Task<Result<void>> pass_on(PipeReader* from, std::string name) {
    Reader reader(*from);
    for (;;) {
        auto line = co_await reader.read_line();
        if (line.error() == Errc::end_of_stream) co_return Result<void>();
        if (!line) co_return line.error();
        std::printf("[%s] %.*s\n", name.c_str(), static_cast<int>(line->text.size()),
                    line->text.data());
        std::fflush(stdout);
    }
}

Task<Result<ExitStatus>> run_once(const std::string& command, const std::string& name) {
    ProcessOptions options;
    options.command = {"sh", "-c", command};
    options.output = Stdio::pipe;
    options.error = Stdio::output;
    options.own_group = true; // the shell's children end with it
    auto process = co_await Process::start(options);
    if (!process) co_return process.error();
    auto body = [&](TaskGroup& group) -> Task<Result<ExitStatus>> {
        group.spawn("output", pass_on, &process->output, name);
        auto status = co_await process->wait();
        co_return status;
    };
    auto status = co_await with_task_group(body);
    co_return status;
}

Task<> keep_running(std::string command, std::string name) {
    Clock::duration pause = first_pause;
    for (;;) {
        const auto began = Clock::now();
        auto status = co_await run_once(command, name);
        auto reason = co_await cancelled();
        if (reason) co_return;
        if (Clock::now() - began >= long_enough) pause = first_pause;
        const std::string how = status ? status->to_string() : status.error().message();
        const auto pause_ms = std::chrono::duration_cast<std::chrono::milliseconds>(pause).count();
        std::printf("[%s] ended with %s; starts again in %lld ms\n", name.c_str(), how.c_str(),
                    static_cast<long long>(pause_ms));
        std::fflush(stdout);
        auto slept = co_await sleep_for(pause);
        if (!slept) co_return;
        pause = std::min<Clock::duration>(2 * pause, longest_pause);
    }
}

Task<Result<void>> supervise(std::vector<std::string> commands) {
    auto signals = SignalStream::create({SIGTERM, SIGINT, SIGHUP});
    if (!signals) co_return signals.error();
    int number = SIGHUP;
    while (number == SIGHUP) {
        auto body = [&](TaskGroup& group) -> Task<Result<void>> {
            for (std::size_t i = 0; i < commands.size(); ++i) {
                group.spawn(keep_running, commands[i], std::to_string(i + 1));
            }
            auto signal = co_await signals->next();
            if (!signal) co_return signal.error();
            number = *signal;
            group.cancel();
            co_return Result<void>();
        };
        auto done = co_await with_task_group(body);
        if (!done) co_return done;
    }
    co_return Result<void>();
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: supervisor COMMAND [COMMAND ...]\n");
        return EX_USAGE;
    }
    auto loop = EventLoop::create();
    if (!loop) return exit_status(loop.error());
    return exit_status(loop->run(supervise, std::vector<std::string>(argv + 1, argv + argc)));
}
