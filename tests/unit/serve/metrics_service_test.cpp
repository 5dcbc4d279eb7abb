#include "serve/metrics_service.hpp"

#include <ringlet/serve.hpp>
#include <ringlet/workers.hpp>

#include "echo.hpp"
#include "net.hpp"
#include "serving_thread.hpp"

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

std::string read_to_the_end(int fd) { return read_up_to(fd, 10'000'000); }

std::string get(const Endpoint& address, std::string_view path) {
    const UniqueFd client = connect_to(address);
    REQUIRE(client);
    REQUIRE(write_all(client.get(), "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n\r\n"));
    return read_to_the_end(client.get());
}

// An unused abstract Unix socket.
std::string free_address() {
    static std::atomic<int> count{0};
    return "unix:@ringlet_metrics_test_" + std::to_string(::getpid()) + "_" +
           std::to_string(++count);
}

ServeOptions measured_options() {
    ServeOptions options = quiet_options();
    options.metrics = free_address();
    return options;
}

} // namespace

TEST_CASE("metrics: one worker answers on its own loop, even while it drains") {
    const ServeOptions options = measured_options();
    WorkersThread server(options, echo_any);
    const Endpoint metrics = loopback(options.metrics);
    {
        const UniqueFd client = connect_to(server.address());
        CHECK(echoes(client, "hello"));
        CHECK(get(metrics, "/metrics").find("\nringlet_connections{worker=\"0\"} 1\n") !=
              std::string::npos);
        CHECK(get(metrics, "/readyz").starts_with("HTTP/1.1 200 "));
        server.stop();
        until_refused(server.address());
        const std::string answer = get(metrics, "/readyz");
        CHECK(answer.starts_with("HTTP/1.1 503 "));
        CHECK(answer.ends_with("\r\n\r\ndraining\n"));
        CHECK(get(metrics, "/healthz").starts_with("HTTP/1.1 200 "));
        CHECK(echoes(client, "still here"));
    }
    CHECK(server.finish().accepted_count >= 1); // some later attempts to connect may count
    CHECK_FALSE(connect_to(metrics));
}

TEST_CASE("metrics: a worker that is stuck in its handler is down, and the others are up") {
    ServeOptions options = measured_options();
    options.workers = 2;
    std::atomic<bool> may_go{false};
    std::atomic<bool> is_stuck{false};
    auto handler = [&](TcpStream) -> Task<> {
        is_stuck = true;
        while (!may_go) std::this_thread::sleep_for(1ms);
        co_return;
    };
    WorkersThread server(options, handler);
    const Endpoint metrics = loopback(options.metrics);
    CHECK(get(metrics, "/healthz").starts_with("HTTP/1.1 200 "));
    const UniqueFd client = connect_to(server.address());
    while (!is_stuck) std::this_thread::sleep_for(1ms);

    std::string text = get(metrics, "/metrics");
    const bool first = text.find("\nringlet_worker_up{worker=\"0\"} 0\n") != text.npos;
    const std::string stuck = first ? "0" : "1";
    const std::string other = first ? "1" : "0";
    CHECK(text.find("\nringlet_worker_up{worker=\"" + stuck + "\"} 0\n") != text.npos);
    CHECK(text.find("\nringlet_worker_up{worker=\"" + other + "\"} 1\n") != text.npos);
    CHECK(text.find("\nringlet_connections{worker=\"" + stuck + "\"}") == text.npos);
    const std::string health = get(metrics, "/healthz");
    CHECK(health.starts_with("HTTP/1.1 503 "));
    CHECK(health.ends_with("\r\n\r\nworker " + stuck + " does not answer\n"));

    may_go = true;
    while (!get(metrics, "/healthz").starts_with("HTTP/1.1 200 ")) std::this_thread::yield();
    text = get(metrics, "/metrics");
    CHECK(text.find("\nringlet_worker_up{worker=\"" + stuck + "\"} 1\n") != text.npos);
    server.stop();
    server.finish();
}

TEST_CASE("metrics: an address in use is reported, and nothing is served") {
    const UniqueFd other = bound_socket(loopback(), 1);
    std::vector<std::string> lines;
    ServeOptions options = quiet_options();
    options.metrics = address_of(other.get()).to_string();
    options.loop.report = [&](std::string_view line) { lines.emplace_back(line); };
    for (const std::size_t workers : {1U, 2U}) {
        options.workers = workers;
        lines.clear();
        auto served = serve(options, echo_any);
        CHECK(served.error() == Errc::metrics_unavailable);
        CHECK(exit_status(served) == 69);
        REQUIRE(lines.size() == 1); // not a second one that blames the server's own address
        CHECK(lines[0].starts_with("metrics: cannot listen on " + options.metrics + ": "));
    }
}

TEST_CASE("metrics: connections to the metrics do not count against max_connections") {
    ServeOptions options = measured_options();
    options.max_connections = 1;
    WorkersThread server(options, echo_any);
    std::vector<UniqueFd> idle; // all metrics places taken
    for (std::size_t i = 0; i < 2 * MetricsService::connections_limit; ++i)
        idle.push_back(connect_to(loopback(options.metrics)));
    const UniqueFd client = connect_to(server.address());
    CHECK(echoes(client, "hello"));
    idle.clear();
    CHECK(get(loopback(options.metrics), "/metrics").find("\nringlet_connections_limit 1\n") !=
          std::string::npos);
    server.stop();
    server.stop();
    server.finish();
}
