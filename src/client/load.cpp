#include "load.hpp"

#include "counted.hpp"
#include "exchange.hpp"
#include "output.hpp"
#include "payload.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <span>

#include <fmt/format.h>
#include <sys/resource.h>

using namespace ringlet;
using std::chrono::nanoseconds;

namespace {

// From this many connections on, the ports of one address would run out (28,232 by default, and a
// closed connection holds its own for a minute): they are spread over 127.0.0.1 to 127.0.0.250.
constexpr std::uint64_t one_address_connections = 5'000;
constexpr std::uint64_t source_addresses = 250;

// A sleep until a request is due ends a little later; beyond this the request is late, and not because
// of the server.
constexpr std::chrono::milliseconds late_send{1};

// CPU time of this thread; if it is the only one, of the whole process, with the kernel's workers for it.
nanoseconds cpu_time(const LoadShare& share) {
    rusage usage{};
    ::getrusage(share.workers == 1 ? RUSAGE_SELF : RUSAGE_THREAD, &usage);
    const auto of = [](const timeval& time) {
        return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
    };
    return of(usage.ru_utime) + of(usage.ru_stime);
}

// How long this thread was ready but not running: the second number, in ns. Zero if the kernel does
// not count it (CONFIG_SCHED_INFO).
nanoseconds cpu_wait_time() {
    std::uint64_t running = 0;
    std::uint64_t waiting = 0;
    std::ifstream("/proc/thread-self/schedstat") >> running >> waiting;
    return nanoseconds(static_cast<std::int64_t>(waiting));
}

// The latest time after the start at which anything is due: a tiny rate would exceed the clock's range.
constexpr double latest_due_seconds = 1e9;

enum class Stage { warmup, measurement };

/// One run of the load: the warm-up is one, the measurement another.
class Phase {
public:
    Phase(EventLoop& loop, const LoadOptions& options, LoadShare share, StartLine& start,
          Interruption& interruption, Stage stage);
    LoadResult run(Clock::time_point begin);

private:
    bool is_timed() const { return duration_.count() > 0; }
    bool is_timed_open_loop() const { return is_timed() && options_.rate > 0; }
    Clock::time_point due_time(std::uint64_t request) const;
    bool has_more() const;
    bool has_ended_early() const { return result_.interrupted || result_.gave_up; }
    std::uint64_t count_never_sent() const;
    std::uint64_t count_waiting(Clock::time_point at) const;

    Task<> wait_for_the_end();
    Task<> drive(std::uint64_t index);
    Task<std::uint64_t> one_connection(std::uint64_t index, Payload& payload);
    Task<Result<Clock::time_point>> wait_until_due(std::uint64_t wanted);
    Task<> end_silent_connections();
    Task<> watch_for_interruption();
    void end_early(bool& why);
    bool is_hopeless();
    Task<> show_progress();
    void note_error(std::string_view where, const std::string& what);
    std::uint64_t planned_requests() const;

    EventLoop& loop_;
    const LoadOptions& options_;
    LoadShare share_;
    Progress& progress_; // of all threads
    Interruption& interruption_;
    Stage stage_;
    std::chrono::milliseconds duration_;
    bool spread_sources_; // connect from several addresses
    std::uint64_t connections_begun_ = 0;
    std::uint64_t running_ = 0;
    std::uint64_t requests_begun_ = 0;
    std::uint64_t requests_under_way_ = 0;
    std::uint64_t fruitless_in_a_row_ = 0; // connections without an echo
    std::string last_failure_;
    Clock::time_point begin_;
    Clock::time_point end_;
    Clock::time_point ended_early_; // if it has
    LoadResult result_;
};

Phase::Phase(EventLoop& loop, const LoadOptions& options, LoadShare share, StartLine& start,
             Interruption& interruption, Stage stage)
    : loop_(loop), options_(options), share_(share),
      progress_(stage == Stage::warmup ? start.warmup : start.measurement),
      interruption_(interruption), stage_(stage),
      duration_(stage == Stage::warmup ? options.warmup : options.duration) {
    const bool many =
        is_timed() || options.coroutines * options.connections_each > one_address_connections;
    spread_sources_ = many && options.server.to_string().starts_with("127.0.0.1:");
}

LoadResult Phase::run(Clock::time_point begin) {
    result_.begin = std::chrono::system_clock::now();
    begin_ = begin;
    end_ = begin_ + duration_;
    const nanoseconds cpu_before = cpu_time(share_);
    const nanoseconds cpu_wait_before = cpu_wait_time();
    auto ended = loop_.run([this] { return wait_for_the_end(); });
    static_cast<void>(ended); // the last coroutine stops the loop
    result_.wall = Clock::now() - begin_;
    result_.cpu = cpu_time(share_) - cpu_before;
    result_.cpu_wait = cpu_wait_time() - cpu_wait_before;
    // Counted only now: in the last turn, requests that had waited may have begun.
    result_.unfinished =
        requests_under_way_ + (has_ended_early() ? count_waiting(ended_early_) : 0);
    result_.never_sent = count_never_sent();
    result_.errors += result_.never_sent;
    if (result_.never_sent > 0) {
        note_error("a request", "it was due before the end, and no connection was free for it");
    }
    return result_;
}

Clock::time_point Phase::due_time(std::uint64_t request) const {
    const std::chrono::duration<double> after_begin(
        std::min(static_cast<double>(share_.number(request)) / options_.rate, latest_due_seconds));
    return begin_ + std::chrono::round<nanoseconds>(after_begin);
}

// Whether another message may begin, as far as time decides it.
//
// In an open loop, requests due before the end are still sent after it; otherwise a stalled server
// would hide its worst latencies (coordinated omission). Not forever, since it may never answer again.
// A warm-up ends on time: its figures are discarded.
bool Phase::has_more() const {
    if (!is_timed()) return true;
    if (!is_timed_open_loop() || stage_ == Stage::warmup) return Clock::now() < end_;
    return due_time(requests_begun_) < end_ && Clock::now() < end_ + options_.timeout;
}

std::uint64_t Phase::count_never_sent() const {
    if (!is_timed_open_loop() || stage_ == Stage::warmup || has_ended_early()) return 0;
    if (due_time(requests_begun_) >= end_) return 0;
    const double all = std::ceil(std::chrono::duration<double>(duration_).count() * options_.rate);
    return share_.count_of(static_cast<std::uint64_t>(all)) - requests_begun_;
}

// Open loop: how many requests were due by then and wait for a connection.
std::uint64_t Phase::count_waiting(Clock::time_point at) const {
    if (options_.rate <= 0) return 0;
    const auto until = std::min(at, is_timed() ? end_ : Clock::time_point::max());
    const double due = std::chrono::duration<double>(until - begin_).count() * options_.rate;
    std::uint64_t count = share_.count_of(static_cast<std::uint64_t>(due) + 1); // the first at once
    if (!is_timed()) count = std::min(count, planned_requests() - result_.errors);
    return count > requests_begun_ ? count - requests_begun_ : 0;
}

std::uint64_t Phase::planned_requests() const {
    return share_.count_of(options_.coroutines) * options_.connections_each * options_.echoes_each;
}

Task<> Phase::wait_for_the_end() {
    running_ = share_.count_of(options_.coroutines);
    for (std::uint64_t i = 0; i < running_; ++i) {
        loop_.spawn([this](std::uint64_t index) { return drive(index); }, share_.number(i));
    }
    loop_.spawn([this] { return end_silent_connections(); });
    loop_.spawn([this] { return watch_for_interruption(); });
    if (options_.progress) loop_.spawn([this] { return show_progress(); });
    auto ended = co_await sleep_until(Clock::time_point::max());
    static_cast<void>(ended);
}

Task<> Phase::drive(std::uint64_t index) {
    Payload payload(options_.message, options_.pipeline, options_.numbered);
    for (std::uint64_t i = 0; is_timed() ? has_more() : i < options_.connections_each; ++i) {
        auto succeeded = co_await one_connection(index, payload);
        if (has_ended_early()) break;
        if (succeeded == 0 && is_hopeless()) {
            end_early(result_.gave_up);
            break;
        }
        if (is_timed() && succeeded == 0) {
            if (Clock::now() >= end_) break;
            // An absent server is tried again, but not in a hot loop.
            auto slept = co_await sleep_for(std::chrono::milliseconds(10));
            if (!slept) break;
        }
    }
    if (--running_ == 0) loop_.stop();
}

// Returns the number of requests that succeeded.
Task<std::uint64_t> Phase::one_connection(std::uint64_t index, Payload& payload) {
    const auto begin = Clock::now();
    ConnectOptions connect_options;
    connect_options.limit_idle_time = true;
    if (spread_sources_) {
        const std::uint64_t source = (index + connections_begun_++) % source_addresses;
        connect_options.from = *Endpoint::parse(fmt::format("127.0.0.{}:0", 1 + source));
    }
    std::string cause;
    auto connected =
        co_await open_connection(options_.server, connect_options, options_.tls, &cause);
    if (!connected && has_ended_early()) co_return 0;
    if (!connected) {
        if (cause.empty()) cause = connected.error().message();
        if (result_.connections_failed++ == 0) {
            result_.connect_error = cause;
            result_.connect_failure = connected.error();
        }
        // A counted run had planned this many requests on it, which are now never sent.
        result_.errors += is_timed() ? 1 : options_.echoes_each;
        note_error("connecting", cause);
        co_return 0;
    }
    const std::uint64_t connection = 1 + share_.number(result_.connections_made++);
    Connection stream = std::move(*connected);
    if (stream.was_resumed()) ++result_.handshakes_resumed;

    std::uint64_t succeeded = 0;
    while (succeeded < options_.echoes_each && has_more()) {
        const std::uint64_t wanted = std::min(options_.pipeline, options_.echoes_each - succeeded);
        payload.prepare(connection, succeeded + 1, wanted);
        auto intended = Clock::now();
        if (options_.rate > 0) {
            auto due = co_await wait_until_due(wanted);
            if (!due) break;
            intended = *due;
        }
        requests_under_way_ += wanted;
        auto right = co_await stream.exchange(payload.request(), payload.reply());
        if (!right && has_ended_early()) break;
        requests_under_way_ -= wanted;
        if (!right || !*right) {
            result_.errors += is_timed() ? wanted : options_.echoes_each - succeeded;
            note_error("an echo",
                       right ? "the answer is not what was sent: " + payload.describe_difference()
                             : stream.describe(right.error()));
            break;
        }
        fruitless_in_a_row_ = 0;
        result_.latency.add(Clock::now() - intended, wanted);
        succeeded += wanted;
        result_.successes += wanted;
    }
    // A connection with nothing more to send stays open: the server keeps the same number of them to the
    // end, and no other one is opened instead.
    if (is_timed_open_loop() && !has_more()) {
        auto slept = co_await sleep_until(end_);
        static_cast<void>(slept);
    }
    if (options_.churn && succeeded == options_.echoes_each) {
        auto closed = co_await stream.close();
        if (!closed && has_ended_early()) co_return succeeded;
        ++result_.connections_whole;
        result_.connection_latency.add(Clock::now() - begin);
    }
    co_return succeeded;
}

// Open loop: returns the time at which the next request was due. Its latency counts from then, even
// if it waited for a connection. An error: the run is ending.
Task<Result<Clock::time_point>> Phase::wait_until_due(std::uint64_t wanted) {
    const auto due = due_time(requests_begun_);
    requests_begun_ += wanted;
    if (due > Clock::now()) {
        auto slept = co_await sleep_until(due);
        if (!slept) co_return slept.error();
        const nanoseconds late = Clock::now() - due;
        if (late > late_send) result_.late_sends += wanted;
        result_.latest_send = std::max(result_.latest_send, late);
    }
    co_return due;
}

Task<> Phase::end_silent_connections() {
    for (;;) {
        auto slept = co_await sleep_for(options_.timeout / 4);
        if (!slept) co_return;
        loop_.cancel_idle(options_.timeout);
    }
}

Task<> Phase::watch_for_interruption() {
    auto came = co_await readable(interruption_.fd());
    if (!came) co_return;
    end_early(result_.interrupted);
}

void Phase::end_early(bool& why) {
    why = true;
    ended_early_ = Clock::now();
    result_.last_failure = last_failure_;
    loop_.stop();
}

// Called after a connection without an echo. With that many in a row the server is gone: continuing would
// only keep its machine busy, and end with the same report.
bool Phase::is_hopeless() {
    if (is_timed() && Clock::now() >= end_) return false;
    ++fruitless_in_a_row_;
    return options_.give_up_after > 0 &&
           fruitless_in_a_row_ / share_.count_of(options_.coroutines) >= options_.give_up_after;
}

Task<> Phase::show_progress() {
    LoadResult told;
    for (;;) {
        auto slept = co_await sleep_for(std::chrono::milliseconds(250));
        progress_.successes += result_.successes - told.successes;
        progress_.connections += result_.connections_made - told.connections_made;
        progress_.errors += result_.errors - told.errors;
        told.successes = result_.successes;
        told.connections_made = result_.connections_made;
        told.errors = result_.errors;
        if (share_.worker > 0 && slept) continue; // the first shows them for all
        if (share_.worker > 0) co_return;
        const auto seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
        const double done = static_cast<double>(progress_.successes);
        const double share = is_timed() ? seconds / std::chrono::duration<double>(duration_).count()
                                        : done / static_cast<double>(options_.coroutines *
                                                                     options_.connections_each *
                                                                     options_.echoes_each);
        if (!slept) {
            say("\r\x1b[K");
            co_return;
        }
        say("\r\x1b[K{:3.0f} %, {:.0f} echoes a second, {}, {}", 100 * std::min(share, 1.0),
            done / seconds, counted(progress_.connections, "connection"),
            counted(progress_.errors, "error"));
    }
}

void Phase::note_error(std::string_view where, const std::string& what) {
    last_failure_ = fmt::format("{}: {}", where, what);
    if (result_.first_error.empty()) result_.first_error = last_failure_;
}

} // namespace

std::optional<LoadResult> run_load(EventLoop& loop, const LoadOptions& options, LoadShare share,
                                   StartLine& start, Interruption& interruption) {
    auto begin = start.wait();
    if (begin && options.warmup.count() > 0) {
        Phase warmup(loop, options, share, start, interruption, Stage::warmup);
        auto thrown_away = warmup.run(*begin);
        if (thrown_away.interrupted) start.call_off();
        start.warmup_connections += thrown_away.connections_made;
        begin = start.wait();
        const bool nobody_is_there = start.warmup_connections == 0;
        if (begin && nobody_is_there) return thrown_away;
    }
    if (!begin) return std::nullopt;
    return Phase(loop, options, share, start, interruption, Stage::measurement).run(*begin);
}
