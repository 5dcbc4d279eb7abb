#include "support.hpp"

#include "serve/metrics_text.hpp"

#include <ringlet/error.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

bool has_line(const std::string& text, std::string_view line) {
    return ("\n" + text).find("\n" + std::string(line) + "\n") != std::string::npos;
}

// The first answers, the second is stuck, the third has ended.
ServerState sample() {
    WorkerSnapshot one;
    one.phase = ServePhase::draining;
    one.report.accepted_count = 7;
    one.report.taken_over_count = 5;
    one.report.handed_over_count = 6;
    one.report.loop.idle_timeouts = 3;
    one.report.loop.received_bytes = 123;
    one.report.loop.sent_bytes = 456;
    one.report.loop.in_flight = {.accept = 1, .recv = 9, .blocking_job = 2};
    one.live_connections = 5;
    one.pauses = {.at_limit = 1, .exhausted = 2, .other = 4};
    one.task_bytes = -8; // it freed memory of other workers
    one.report.loop.turn_times.add(10us);
    one.report.loop.turn_times.add(1500ms);
    one.report.loop.turn_times.add(1h);
    one.backend = {.backend = Backend::epoll, .refusal = Errc::io_uring_disabled};
    ServerState server;
    server.connection_limit = 100;
    server.workers.resize(3);
    server.workers[0].snapshot = one;
    server.workers[2].has_ended = true;
    return server;
}

} // namespace

TEST_CASE("metrics: each number has its name, its worker and its cause") {
    const std::string text = metrics_text(sample(), MetricsFormat::prometheus);
    for (const std::string_view line :
         {"ringlet_connections_limit 100",
          "ringlet_connections{worker=\"0\"} 5",
          "ringlet_connections_accepted_total{worker=\"0\"} 7",
          "ringlet_connections_taken_over_total{worker=\"0\"} 5",
          "ringlet_connections_handed_over_total{worker=\"0\"} 6",
          "ringlet_accept_pauses_total{worker=\"0\",cause=\"limit\"} 1",
          "ringlet_accept_pauses_total{worker=\"0\",cause=\"exhausted\"} 2",
          "ringlet_accept_pauses_total{worker=\"0\",cause=\"other\"} 4",
          "ringlet_received_bytes_total{worker=\"0\"} 123",
          "ringlet_sent_bytes_total{worker=\"0\"} 456",
          "ringlet_operations_in_flight{worker=\"0\",kind=\"accept\"} 1",
          "ringlet_operations_in_flight{worker=\"0\",kind=\"recv\"} 9",
          "ringlet_operations_in_flight{worker=\"0\",kind=\"poll\"} 0",
          "ringlet_operations_in_flight{worker=\"0\",kind=\"blocking_job\"} 2",
          "ringlet_timeouts_total{worker=\"0\",kind=\"idle\"} 3",
          "ringlet_phase{worker=\"0\",phase=\"draining\"} 1",
          "ringlet_phase{worker=\"0\",phase=\"accepting\"} 0",
          "ringlet_task_memory_bytes{worker=\"0\"} 0",
          "# TYPE ringlet_connections_accepted_total counter",
          "# TYPE ringlet_build_info gauge"}) {
        CAPTURE(line);
        CHECK(has_line(text, line));
    }
    CHECK(text.find("# EOF") == std::string::npos);
}

TEST_CASE("metrics: a stuck worker is down without numbers, and an ended one is left out") {
    const std::string text = metrics_text(sample(), MetricsFormat::prometheus);
    CHECK(has_line(text, "ringlet_worker_up{worker=\"0\"} 1"));
    CHECK(has_line(text, "ringlet_worker_up{worker=\"1\"} 0"));
    CHECK(text.find("ringlet_worker_up{worker=\"2\"}") == std::string::npos);
    CHECK(text.find("ringlet_connections{worker=\"1\"}") == std::string::npos);
}

TEST_CASE("metrics: histograms are cumulative, in seconds, and exact") {
    const std::string text = metrics_text(sample(), MetricsFormat::prometheus);
    for (const std::string_view line :
         {"_bucket{worker=\"0\",le=\"0.000008192\"} 0",
          "_bucket{worker=\"0\",le=\"0.000016384\"} 1",
          "_bucket{worker=\"0\",le=\"1.073741824\"} 1",
          "_bucket{worker=\"0\",le=\"2.147483648\"} 2", "_bucket{worker=\"0\",le=\"+Inf\"} 3",
          "_sum{worker=\"0\"} 3601.50001", "_count{worker=\"0\"} 3"}) {
        CAPTURE(line);
        CHECK(has_line(text, "ringlet_turn_duration_seconds" + std::string(line)));
    }
}

TEST_CASE("metrics: the backend's reason is on one line") {
    ServerState server = sample();
    server.workers[0].snapshot->backend.refusal = {};
    CHECK(has_line(metrics_text(server, MetricsFormat::prometheus),
                   R"(ringlet_backend_info{worker="0",backend="epoll",reason=""} 1)"));
    CHECK(metrics_text(sample(), MetricsFormat::prometheus)
              .find(R"(backend="epoll",reason="io_uring is disabled by the sysctl)") !=
          std::string::npos);
}

TEST_CASE("metrics: OpenMetrics names counters without _total, has infos, and ends with EOF") {
    const std::string text = metrics_text(sample(), MetricsFormat::openmetrics);
    CHECK(has_line(text, "# TYPE ringlet_connections_accepted counter"));
    CHECK(has_line(text, "ringlet_connections_accepted_total{worker=\"0\"} 7"));
    CHECK(has_line(text, "# TYPE ringlet_build info"));
    CHECK(text.ends_with("\n# EOF\n"));
    CHECK(content_type(MetricsFormat::openmetrics).starts_with("application/openmetrics-text"));
    CHECK(content_type(MetricsFormat::prometheus).starts_with("text/plain; version=0.0.4"));
}
