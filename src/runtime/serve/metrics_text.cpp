#include "serve/metrics_text.hpp"

#include <ringlet/unique_fd.hpp>
#include <ringlet/version.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace ringlet {

namespace {

#if defined(__clang__)
constexpr std::string_view compiler = "clang " __clang_version__;
#else
constexpr std::string_view compiler = "gcc " __VERSION__;
#endif

using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

constexpr std::uint64_t nanoseconds_per_second = 1'000'000'000;

std::uint64_t nanoseconds_of(const timespec& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * nanoseconds_per_second +
           static_cast<std::uint64_t>(time.tv_nsec);
}

// Exact, without trailing zeros.
std::string seconds_of(std::uint64_t nanoseconds) {
    std::string text = std::to_string(nanoseconds / nanoseconds_per_second);
    std::string fraction = std::to_string(nanoseconds % nanoseconds_per_second);
    fraction.insert(0, 9 - fraction.size(), '0');
    fraction.resize(fraction.find_last_not_of('0') + 1);
    if (!fraction.empty()) text += "." + fraction;
    return text;
}

class Page {
public:
    explicit Page(MetricsFormat format) : is_open_(format == MetricsFormat::openmetrics) {}

    void begin_gauge(std::string_view name, std::string_view help) {
        begin(name, "", "gauge", help);
    }
    // A counter's samples end with _total; in OpenMetrics its name does not.
    void begin_counter(std::string_view name, std::string_view help) {
        begin(name, "_total", "counter", help);
    }
    void begin_info(std::string_view name, std::string_view help) {
        begin(name, "_info", is_open_ ? "info" : "gauge", help);
    }
    void begin_histogram(std::string_view name, std::string_view help) {
        begin(name, "", "histogram", help);
    }

    void sample(Labels labels, std::string_view value) { write(suffix_, labels, value); }
    template <std::integral Number>
    void sample(Labels labels, Number value) {
        sample(labels, std::to_string(value));
    }
    void sample(std::string_view worker, const DurationHistogram& histogram) {
        std::uint64_t up_to = 0;
        for (std::size_t bucket = 0; bucket < histogram.counts.size(); ++bucket) {
            up_to += histogram.counts[bucket];
            const std::string bound = bucket < DurationHistogram::bound_count
                                          ? seconds_of(static_cast<std::uint64_t>(
                                                DurationHistogram::bound(bucket).count()))
                                          : "+Inf";
            write("_bucket", {{"worker", worker}, {"le", bound}}, std::to_string(up_to));
        }
        write("_sum", {{"worker", worker}}, seconds_of(histogram.sum_nanoseconds));
        write("_count", {{"worker", worker}}, std::to_string(up_to));
    }

    std::string finish() && {
        if (is_open_) text_ += "# EOF\n";
        return std::move(text_);
    }

private:
    void begin(std::string_view name, std::string_view suffix, std::string_view type,
               std::string_view help) {
        name_ = name;
        suffix_ = suffix;
        const std::string family = is_open_ ? name_ : name_ + suffix_;
        text_ += "# HELP " + family + " ";
        text_ += help;
        text_ += "\n# TYPE " + family + " ";
        text_ += type;
        text_ += '\n';
    }

    void write(std::string_view suffix, Labels labels, std::string_view value) {
        text_ += name_;
        text_ += suffix;
        char before = '{';
        for (const auto& [name, content] : labels) {
            text_ += std::exchange(before, ',');
            text_ += name;
            text_ += "=\"";
            for (const char letter : content) {
                if (letter == '\\' || letter == '"') text_ += '\\';
                if (letter == '\n') {
                    text_ += "\\n";
                } else {
                    text_ += letter;
                }
            }
            text_ += '"';
        }
        if (labels.size() > 0) text_ += '}';
        text_ += ' ';
        text_ += value;
        text_ += '\n';
    }

    bool is_open_;
    std::string name_;
    std::string suffix_;
    std::string text_;
};

// Calls with the number and the snapshot of each worker that has answered.
template <class Call>
void each_worker(const ServerState& server, Call call) {
    for (std::size_t index = 0; index < server.workers.size(); ++index) {
        const auto& snapshot = server.workers[index].snapshot;
        if (snapshot) call(std::to_string(index), *snapshot);
    }
}

void write_server(Page& page, const ServerState& server) {
    page.begin_info("ringlet_build", "What the server was built from and with.");
    page.sample({{"version", RINGLET_VERSION}, {"compiler", compiler}}, 1);
    page.begin_gauge("ringlet_connections_limit",
                     "Connections served at once, at most, by all workers together.");
    page.sample({}, server.connection_limit);
    page.begin_gauge("ringlet_worker_up",
                     "Whether the worker's loop turns: 0 if it did not answer in time.");
    for (std::size_t index = 0; index < server.workers.size(); ++index) {
        const WorkerState& worker = server.workers[index];
        if (worker.has_ended) continue;
        page.sample({{"worker", std::to_string(index)}}, worker.snapshot ? 1 : 0);
    }
    page.begin_info("ringlet_backend", "What the worker's loop runs on, and why.");
    each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
        page.sample({{"worker", worker},
                     {"backend", to_string(of.backend.backend)},
                     {"reason", of.backend.refusal ? of.backend.refusal.message() : ""}},
                    1);
    });
    page.begin_gauge("ringlet_phase", "What the worker is at: 1 for its phase, 0 for the others.");
    each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
        constexpr std::array phases{std::pair(ServePhase::starting, "starting"),
                                    std::pair(ServePhase::accepting, "accepting"),
                                    std::pair(ServePhase::draining, "draining")};
        for (const auto& [phase, name] : phases)
            page.sample({{"worker", worker}, {"phase", name}}, of.phase == phase ? 1 : 0);
    });
}

// One number per worker.
struct Row {
    std::string_view name;
    std::string_view help;
    std::uint64_t (*read)(const WorkerSnapshot& of);
};

std::uint64_t not_negative(std::ptrdiff_t number) {
    return number > 0 ? static_cast<std::uint64_t>(number) : 0;
}

constexpr std::array gauges{
    Row{"ringlet_connections", "Connections that are served now.",
        [](const WorkerSnapshot& of) -> std::uint64_t { return of.live_connections; }},
    Row{"ringlet_tasks", "Tasks that are alive, those of the server itself included.",
        [](const WorkerSnapshot& of) -> std::uint64_t { return of.report.loop.live_tasks; }},
    Row{"ringlet_task_memory_bytes",
        "Memory of frames, records and sockets. It may come back on another worker.",
        [](const WorkerSnapshot& of) { return not_negative(of.task_bytes); }},
    Row{"ringlet_timers", "Timers that are armed.",
        [](const WorkerSnapshot& of) -> std::uint64_t { return of.report.loop.armed_timers; }},
    Row{"ringlet_buffers_lent", "Receive buffers that handlers hold.",
        [](const WorkerSnapshot& of) { return not_negative(of.lent_buffers); }},
};

constexpr std::array counters{
    Row{"ringlet_connections_accepted", "Connections whose handler began here.",
        [](const WorkerSnapshot& of) { return of.report.accepted_count; }},
    Row{"ringlet_connections_taken_over", "Connections that came from the program before.",
        [](const WorkerSnapshot& of) { return of.report.taken_over_count; }},
    Row{"ringlet_connections_handed_over", "Connections that went to the next program.",
        [](const WorkerSnapshot& of) { return of.report.handed_over_count; }},
    Row{"ringlet_connections_failed", "Handlers that ended with an error or an exception.",
        [](const WorkerSnapshot& of) { return of.report.failed_count; }},
    Row{"ringlet_connections_cancelled", "Connections that were cut off at the end of a drain.",
        [](const WorkerSnapshot& of) { return of.report.cancelled_count; }},
    Row{"ringlet_received_bytes", "Bytes that sockets received, on the wire if through TLS.",
        [](const WorkerSnapshot& of) { return of.report.loop.received_bytes; }},
    Row{"ringlet_sent_bytes", "Bytes that sockets sent, on the wire if through TLS.",
        [](const WorkerSnapshot& of) { return of.report.loop.sent_bytes; }},
    Row{"ringlet_buffer_waits", "Receives that had to wait for a buffer.",
        [](const WorkerSnapshot& of) { return of.report.loop.ring.buffer_shortages; }},
    Row{"ringlet_parked_receives", "Receives that gave their memory back after a long wait.",
        [](const WorkerSnapshot& of) { return of.report.loop.ring.parked_receives; }},
    Row{"ringlet_turns", "Turns of the loop.",
        [](const WorkerSnapshot& of) { return of.report.loop.turns; }},
    Row{"ringlet_resumptions", "Coroutines that the loop resumed.",
        [](const WorkerSnapshot& of) { return of.report.loop.resumptions; }},
    Row{"ringlet_busy_polls", "Waits in which the loop polled before it slept.",
        [](const WorkerSnapshot& of) { return of.report.loop.busy_polls; }},
    Row{"ringlet_system_calls", "System calls of the ring: to submit, to transfer and to wait.",
        [](const WorkerSnapshot& of) { return of.report.loop.ring.system_calls; }},
    Row{"ringlet_submissions", "Operations that were submitted to the kernel.",
        [](const WorkerSnapshot& of) { return of.report.loop.ring.submissions; }},
    Row{"ringlet_completions", "Answers that came from the kernel.",
        [](const WorkerSnapshot& of) { return of.report.loop.ring.completions; }},
    Row{"ringlet_full_queue_flushes", "Submissions that found the queue full.",
        [](const WorkerSnapshot& of) { return of.report.loop.ring.full_queue_flushes; }},
    Row{"ringlet_completion_overflows", "Completions that found no room in the queue.",
        [](const WorkerSnapshot& of) { return of.report.loop.ring.completion_overflows; }},
};

void write_rows(Page& page, const ServerState& server) {
    const auto write = [&](const Row& row) {
        each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
            page.sample({{"worker", worker}}, row.read(of));
        });
    };
    for (const Row& row : gauges) {
        page.begin_gauge(row.name, row.help);
        write(row);
    }
    for (const Row& row : counters) {
        page.begin_counter(row.name, row.help);
        write(row);
    }
}

void write_operations(Page& page, const ServerState& server) {
    page.begin_gauge("ringlet_operations_in_flight",
                     "Operations that the kernel has and has not answered, by kind.");
    each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
        const auto& [accept, connect, recv, send, read, write, poll, blocking_job] =
            of.report.loop.in_flight;
        const std::pair<std::string_view, std::size_t> kinds[] = {
            {"accept", accept}, {"connect", connect},
            {"recv", recv},     {"send", send},
            {"read", read},     {"write", write},
            {"poll", poll},     {"blocking_job", blocking_job}};
        for (const auto& [kind, count] : kinds)
            page.sample({{"worker", worker}, {"kind", kind}}, count);
    });
}

void write_causes(Page& page, const ServerState& server) {
    page.begin_counter("ringlet_accept_pauses", "Pauses of accepting, by what caused them.");
    each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
        page.sample({{"worker", worker}, {"cause", "limit"}}, of.pauses.at_limit);
        page.sample({{"worker", worker}, {"cause", "exhausted"}}, of.pauses.exhausted);
        page.sample({{"worker", worker}, {"cause", "other"}}, of.pauses.other);
    });
    page.begin_counter("ringlet_timeouts",
                       "Operations ended by the idle timeout, and deadlines that passed.");
    each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
        page.sample({{"worker", worker}, {"kind", "idle"}}, of.report.loop.idle_timeouts);
        page.sample({{"worker", worker}, {"kind", "deadline"}}, of.report.loop.expired_deadlines);
    });
}

void write_times(Page& page, const ServerState& server) {
    page.begin_histogram("ringlet_turn_duration_seconds",
                         "How long the loop was away from the kernel.");
    each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
        page.sample(worker, of.report.loop.turn_times);
    });
    page.begin_histogram("ringlet_ready_wait_seconds",
                         "How long coroutines that were ready waited to be resumed.");
    each_worker(server, [&](const std::string& worker, const WorkerSnapshot& of) {
        page.sample(worker, of.report.loop.ready_waits);
    });
}

// Counted from 1970; 0 if unknown. proc(5): the 22nd field of stat, in ticks since the machine was started.
std::uint64_t read_start_nanoseconds() {
    const UniqueFd stat(::open("/proc/self/stat", O_RDONLY | O_CLOEXEC));
    std::array<char, 1024> memory{};
    const ssize_t size = ::read(stat.get(), memory.data(), memory.size());
    timespec now{};
    timespec up{};
    if (size <= 0 || ::clock_gettime(CLOCK_REALTIME, &now) != 0 ||
        ::clock_gettime(CLOCK_BOOTTIME, &up) != 0) {
        return 0;
    }
    std::string_view text(memory.data(), static_cast<std::size_t>(size));
    text.remove_prefix(std::min(text.rfind(')'), text.size())); // a name may have spaces
    for (int field = 2; field < 22; ++field)
        text.remove_prefix(std::min(text.find(' ') + 1, text.size()));
    std::uint64_t ticks = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), ticks);
    const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    if (read.ec != std::errc{} || per_second == 0) return 0;
    const std::uint64_t started = ticks * (nanoseconds_per_second / per_second);
    return nanoseconds_of(now) - (nanoseconds_of(up) - started);
}

// Under the names that every Prometheus client library uses.
void write_process(Page& page) {
    static const std::uint64_t start = read_start_nanoseconds(); // so that it never changes
    if (start > 0) {
        page.begin_gauge("process_start_time_seconds", "When the process began, since 1970.");
        page.sample({}, seconds_of(start));
    }
    timespec used{};
    if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0) return;
    page.begin_counter("process_cpu_seconds", "CPU time of the process, user and system.");
    page.sample({}, seconds_of(nanoseconds_of(used)));
}

} // namespace

std::string metrics_text(const ServerState& server, MetricsFormat format) {
    Page page(format);
    write_server(page, server);
    write_rows(page, server);
    write_operations(page, server);
    write_causes(page, server);
    write_times(page, server);
    write_process(page);
    return std::move(page).finish();
}

std::string_view content_type(MetricsFormat format) noexcept {
    return format == MetricsFormat::openmetrics
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

} // namespace ringlet
