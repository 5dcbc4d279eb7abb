#include "serve/service_manager.hpp"

#include "net.hpp"
#include "notify_socket.hpp"
#include "support.hpp"

#include <ringlet/testing/simulation.hpp>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

std::int64_t monotonic_us() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

} // namespace

TEST_CASE("NOTIFY_SOCKET is a path or an abstract name") {
    CHECK(read_notify_socket("/run/systemd/notify")->to_string() == "unix:/run/systemd/notify");
    CHECK(read_notify_socket("@notify")->to_string() == "unix:@notify");
    for (const char* text : {"", "notify", "./notify", "vsock:2:1234", "@"}) {
        INFO(text);
        CHECK(!read_notify_socket(text));
    }
    CHECK(!read_notify_socket(nullptr));
    CHECK(!read_notify_socket(("/" + std::string(200, 'x')).c_str()));
}

TEST_CASE("a watchdog applies to the process that it names, or to any process") {
    constexpr pid_t own_pid = 1234;
    CHECK(read_watchdog("20000000", "1234", own_pid) == 20s);
    CHECK(read_watchdog("1", nullptr, own_pid) == 1us);
    CHECK(read_watchdog("9223372036854775807", nullptr, own_pid) > 24h);
    CHECK(read_watchdog("20000000", "1235", own_pid) == 0s);
    CHECK(read_watchdog("20000000", "", own_pid) == 0s);
    for (const char* time : {"", "0", "-5", "2s", "99999999999999999999"}) {
        INFO(time);
        CHECK(read_watchdog(time, nullptr, own_pid) == 0s);
    }
    CHECK(read_watchdog(nullptr, nullptr, own_pid) == 0s);
}

TEST_CASE("a service manager gets one datagram per notification") {
    NotifySocket manager;
    const ServiceManager told(manager.address(), 20s);
    CHECK(told);
    CHECK(told.watchdog() == 20s);
    CHECK(told.ready("serving"));
    CHECK(manager.next() == "READY=1\nSTATUS=serving");
    CHECK(told.status("serving 1 connection\non\nunix:/a\nb"));
    CHECK(manager.next() == "STATUS=serving 1 connection on unix:/a b");
    CHECK(told.alive());
    CHECK(manager.next() == "WATCHDOG=1");
    CHECK(told.stopping("draining"));
    CHECK(manager.next() == "STOPPING=1\nSTATUS=draining");
    CHECK(told.followed_by(4711));
    CHECK(manager.next() == "MAINPID=4711");
    CHECK(manager.next().empty());
}

TEST_CASE("a reload carries its time") {
    NotifySocket manager;
    const std::int64_t before = monotonic_us();
    CHECK(ServiceManager(manager.address(), 0s).reloading());
    const std::string text = manager.next();
    const std::string beginning = "RELOADING=1\nMONOTONIC_USEC=";
    REQUIRE(text.starts_with(beginning));
    const std::int64_t said = std::stoll(text.substr(beginning.size()));
    CHECK(said >= before);
    CHECK(said <= monotonic_us());
}

TEST_CASE("a service manager that does not read blocks nothing") {
    NotifySocket manager;
    const ServiceManager told(manager.address(), 0s);
    int sent = 0;
    while (told.alive() && sent < 1'000'000) ++sent; // net.unix.max_dgram_qlen
    CHECK(sent < 1'000'000);
    CHECK(!told.ready("serving"));
    CHECK(manager.next() == "WATCHDOG=1");
    CHECK(told.ready("serving"));
}

TEST_CASE("a missing service manager is not an error") {
    Endpoint address;
    {
        const NotifySocket manager;
        address = manager.address();
    }
    const std::size_t descriptors = descriptor_count();
    CHECK(!ServiceManager(address, 0s).ready("serving"));
    CHECK(descriptor_count() == descriptors);
    const ServiceManager nobody;
    CHECK(!nobody);
    CHECK(nobody.ready("serving")); // no need to retry
}

TEST_CASE("a service manager is found in the environment, but not in a simulation") {
    CHECK(!ServiceManager::of_environment());
    NotifySocket manager;
    const Variable socket("NOTIFY_SOCKET", manager.variable());
    const Variable time("WATCHDOG_USEC", "3000000");
    const Variable pid("WATCHDOG_PID", std::to_string(::getpid()));
    const ServiceManager found = ServiceManager::of_environment();
    REQUIRE(found);
    CHECK(found.watchdog() == 3s);
    CHECK(found.alive());
    CHECK(manager.next() == "WATCHDOG=1");
    auto scenario = [](Simulation& world) -> Task<> {
        world.check(!ServiceManager::of_environment(), "nobody to tell");
        co_return;
    };
    const auto report = simulate({.seeds = 1, .faults = FaultSet::none()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}
