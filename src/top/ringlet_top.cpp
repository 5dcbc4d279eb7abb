// ringlet_top: shows what a ringlet server does, a line for each worker, from its metrics address.

#include <ringlet/deadline.hpp>
#include <ringlet/event.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/readiness.hpp>
#include <ringlet/signal_stream.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/version.hpp>
#include <ringlet/when.hpp>

#include "command_line.hpp"
#include "duration_option.hpp"
#include "fetch.hpp"
#include "first_process.hpp"
#include "output.hpp"
#include "table.hpp"
#include "terminal.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include <sysexits.h>
#include <unistd.h>

using namespace ringlet;

namespace {

struct Settings {
    std::string address;
    std::chrono::milliseconds interval{1000};
    bool once = false;
};

void add_options(CLI::App& app, Settings& settings) {
    app.set_version_flag("--version", "ringlet_top " RINGLET_VERSION);
    app.add_option("address", settings.address,
                   "The metrics address of the server: HOST:PORT, or unix:/PATH")
        ->required()
        ->type_name("ADDRESS");
    add_duration(app, "--interval", settings.interval, std::chrono::milliseconds(100),
                 "Time between two requests, as 500ms, 2s; default 1s");
    app.add_flag("--once", settings.once,
                 "Print one table to stdout, from answers one interval apart, and exit");
    app.footer(
        R"(A line for each worker, and one for all. Rates are those of the last interval. A terminal that
is too narrow shows fewer columns; --once shows all.

state      ready, starting or draining; stuck: its loop did not answer within half a second
backend    what its loop runs on
conns      open connections
accept/s   connections whose handler started
pause/s    pauses of accepting: the limit was reached, or descriptors ran out
fail/s     handlers that ended with an error
turns/s    turns of the loop
turn50     how long the loop was away from the kernel: the median,
turn99     and the 99th percentile. The server's buckets are a factor of two apart
wait50     how long ready coroutines waited to be resumed: the median,
wait99     and the 99th percentile
recv/s     bytes received
sent/s     bytes sent
tasks      live tasks
flight     operations in flight in the kernel
lent       receive buffers that handlers hold
overfl     completions for which there was no room, since the start; 0 if all is well

Keys: q quits, as do SIGINT and SIGTERM; the terminal is restored. A server that goes away is
asked again until it is back.

Exit status: 0 after q, a signal or --once; of sysexits(3): 64 bad option, 68 unknown host, 69 no
server listens or answers, 74 the output could not be written, 76 no ringlet server answers, 77
no permission. Once the table is shown, a server that goes away is not an error.

Try it:  echo_coro --metrics 127.0.0.1:9320 &  ringlet_top --once 127.0.0.1:9320)");
}

double seconds_of(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

Look look_at(Scrape scrape) {
    const auto date = std::chrono::system_clock::now().time_since_epoch();
    return {.scrape = std::move(scrape),
            .at = seconds_of(Clock::now().time_since_epoch()),
            .date = seconds_of(date)};
}

int fail(const Settings& settings, const Answer& answer) {
    say("ringlet_top: {}: {}\n", settings.address, answer.trouble);
    return answer.exit_status;
}

// ---- one table ----------------------------------------------------------------------------------

Task<int> show_once(Settings settings) {
    auto first = co_await fetch(settings.address);
    if (!first.scrape) co_return fail(settings, first);
    const Look before = look_at(std::move(*first.scrape));
    auto slept = co_await sleep_for(settings.interval);
    if (!slept) co_return EX_TEMPFAIL;
    auto second = co_await fetch(settings.address);
    if (!second.scrape) co_return fail(settings, second);
    const Look now = look_at(std::move(*second.scrape));
    print("{}", to_table(settings.address, &before, now));
    co_return EX_OK;
}

// ---- a page that is updated ---------------------------------------------------------------------

class Page {
public:
    Page(Settings settings, Look first)
        : settings_(std::move(settings)), now_(std::move(first)), last_answer_(now_.at) {}

    Task<> keep_fresh() {
        terminal_.enter();
        auto next = Clock::now();
        for (;;) {
            draw();
            next += settings_.interval;
            auto slept = co_await sleep_until(next);
            if (!slept) co_return;
            auto answer = co_await fetch(settings_.address);
            note(std::move(answer));
            next = std::max(next, Clock::now() - settings_.interval);
        }
    }

    Task<> watch_keys() {
        while (terminal_.has_keys()) {
            auto ready = co_await readable(STDIN_FILENO);
            if (!ready) co_return;
            const int key = terminal_.key();
            if (key == 'q' || key == 'Q' || key < 0) co_return;
        }
        Event never("a key");
        auto waited = co_await never.wait();
        static_cast<void>(waited);
    }

    Task<> watch_signals(SignalStream& signals) {
        for (;;) {
            auto number = co_await signals.next();
            if (!number || (*number != SIGWINCH && *number != SIGTSTP)) co_return;
            if (*number == SIGTSTP) {
                terminal_.leave();
                std::raise(SIGSTOP);
                terminal_.enter();
            }
            draw();
        }
    }

private:
    void note(Answer answer) {
        trouble_ = std::move(answer.trouble);
        if (!answer.scrape) return;
        Look look = look_at(std::move(*answer.scrape));
        const bool is_same = is_same_server(now_, look);
        if (!is_same) started_again_ = look.at;
        before_ = is_same ? std::optional(std::move(now_)) : std::nullopt;
        now_ = std::move(look);
        last_answer_ = now_.at;
    }

    void draw() {
        std::string page = to_table(settings_.address, before_ ? &*before_ : nullptr, now_,
                                    terminal_.size().columns);
        const double now = seconds_of(Clock::now().time_since_epoch());
        if (!trouble_.empty()) {
            page += fmt::format(
                "\n{}; asked again each {:.1f} s. These are the numbers of {:.0f} s ago.\n",
                trouble_, seconds_of(settings_.interval), now - last_answer_);
        } else if (started_again_) {
            page += fmt::format(
                "\nAnother process answers since {:.0f} s: the server was started again.\n",
                now - *started_again_);
        }
        terminal_.draw(page);
    }

    Settings settings_;
    Terminal terminal_;
    Look now_;
    std::optional<Look> before_;
    std::string trouble_;
    double last_answer_;
    std::optional<double> started_again_;
};

Task<int> show(Settings settings, SignalStream& signals) {
    auto first = co_await fetch(settings.address);
    if (!first.scrape) co_return fail(settings, first);
    Page page(std::move(settings), look_at(std::move(*first.scrape)));
    auto ended =
        co_await when_any(page.keep_fresh(), page.watch_keys(), page.watch_signals(signals));
    static_cast<void>(ended);
    co_return EX_OK;
}

// A signal that was ignored when we were started stays so.
Result<SignalStream> signals_to_watch() {
    std::vector<int> wanted{SIGTERM, SIGWINCH, SIGTSTP};
    for (const int number : {SIGINT, SIGQUIT, SIGHUP}) {
        struct sigaction now{};
        ::sigaction(number, nullptr, &now);
        if (now.sa_handler != SIG_IGN) wanted.push_back(number);
    }
    return SignalStream::create(wanted);
}

int run(const Settings& settings) {
    LoopOptions options;
    options.backend = Backend::epoll; // for a few messages a second: needs no permission, no memory
    auto loop = EventLoop::create(options);
    if (!loop) {
        say("ringlet_top: {}\n", loop.error().message());
        return EX_OSERR;
    }
    if (settings.once) {
        auto status = loop->run([&] { return show_once(settings); });
        return end_output("ringlet_top", status ? *status : EX_OSERR);
    }
    auto signals = signals_to_watch();
    if (!signals) {
        say("ringlet_top: {}\n", signals.error().message());
        return EX_OSERR;
    }
    auto status = loop->run([&] { return show(settings, *signals); });
    return status ? *status : EX_OSERR;
}

} // namespace

int main(int argc, char** argv) {
    ignore_broken_pipes();
    hold_standard_streams();
    end_by_signals_as_first_process();
    Settings settings;
    CLI::App app("Shows what a ringlet server does, from its metrics address.", "ringlet_top");
    const auto ended =
        parse_command_line(app, argc, argv, [&](CLI::App& to) { add_options(to, settings); });
    if (ended) return *ended;
    if (!settings.once && ::isatty(STDOUT_FILENO) == 0) {
        say("ringlet_top: stdout is no terminal: --once prints one table (see --help)\n");
        return EX_USAGE;
    }
    return run(settings);
}
