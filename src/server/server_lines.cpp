#include "server_lines.hpp"

#include "output.hpp"

#include <fmt/format.h>

#include <string>

using namespace ringlet;

namespace {

std::string addresses_of(const Workers& workers) {
    std::string text;
    for (const Endpoint& address : workers.locals())
        text += (text.empty() ? "" : ", ") + address.to_string();
    return text;
}

std::string where_metrics_are(const Workers& workers) {
    const auto address = workers.metrics_address();
    return address ? ", metrics on " + address->to_string() : "";
}

} // namespace

void print_start(const Workers& workers, bool given, bool pinned, bool tls,
                 std::size_t descriptors) {
    print("echo_coro listens on {}{}{}, backend {}, {} {}worker{}, at most {} connection{} "
          "({} {}descriptors{}){}\n",
          addresses_of(workers), given ? " (given by the service manager)" : "",
          tls ? " (TLS)" : "", workers.backend().to_string(), workers.size(),
          pinned ? "pinned " : "", workers.size() == 1 ? "" : "s", workers.max_connections(),
          workers.max_connections() == 1 ? "" : "s", descriptors,
          workers.has_direct_descriptors() ? "direct " : "",
          workers.has_direct_descriptors() && workers.size() > 1 ? " each" : "",
          where_metrics_are(workers));
}

void warn_of_limit(Log& log, const Workers& workers, std::size_t wanted, std::size_t descriptors) {
    if (workers.has_direct_descriptors()) {
        if (workers.max_connections() >= wanted) return;
        log.write(
            LogLevel::warning,
            fmt::format("--max-connections {} is more than the {} descriptors of each worker: "
                        "{} are served at once (--workers {}, or raise 'ulimit -n')",
                        wanted, descriptors, workers.max_connections(),
                        (wanted + descriptors - 1) / descriptors));
    } else if (workers.max_connections() > descriptors) {
        log.write(
            LogLevel::warning,
            fmt::format("--max-connections {} is more than the {} descriptors of this process: "
                        "accepting will pause at that limit (see 'ulimit -n')",
                        wanted, descriptors));
    }
}

void print_end(const ServeReport& report) {
    for (std::size_t index = 0; index < report.workers.size(); ++index) {
        const ServeReport& worker = report.workers[index];
        print("worker {}: {} connections served, {} cancelled, {} system calls on {}, "
              "{} completions\n",
              index, worker.accepted_count, worker.cancelled_count, worker.loop.ring.system_calls,
              to_string(worker.loop.backend), worker.loop.ring.completions);
    }
    print("echo_coro stopped: {} connections served, {} cancelled after the drain time\n",
          report.accepted_count, report.cancelled_count);
    if (report.taken_over_count + report.handed_over_count > 0) {
        print("{} connections came from the program before, {} went to the next one\n",
              report.taken_over_count, report.handed_over_count);
    }
    // Of several workers, some may have been refused io_uring.
    const std::string backend =
        report.workers.empty() ? fmt::format(" on {}", to_string(report.loop.backend)) : "";
    const RingStats& ring = report.loop.ring;
    print("{} system calls{}, {} completions, {} pauses of accepting, "
          "{} waits for a buffer, {} overflows of the completion queue\n",
          ring.system_calls, backend, ring.completions, report.accept_pauses, ring.buffer_shortages,
          ring.completion_overflows);
}
