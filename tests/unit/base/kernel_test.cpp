#include "base/kernel.hpp"

#include "net.hpp"
#include "recording_kernel.hpp"

#include <latch>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("the kernel returns both addresses of a connection") {
    Kernel& kernel = Kernel::of_this_thread();
    const UniqueFd listener = bound_socket(loopback(), 1);
    auto endpoint = kernel.local(listener.get());
    REQUIRE(endpoint);
    CHECK(*endpoint == address_of(listener.get()));
    auto fd = kernel.open_socket(AF_INET, SOCK_STREAM);
    REQUIRE(fd);
    CHECK(kernel.peer(fd->get()).error() == std::errc::not_connected);
    REQUIRE(::connect(fd->get(), endpoint->data(), endpoint->size_bytes()) == 0);
    CHECK(kernel.peer(fd->get()).value() == *endpoint);
    CHECK(kernel.local(-1).error() == std::errc::bad_file_descriptor);
}

TEST_CASE("the kernel sets socket options, and returns its error if it refuses one") {
    Kernel& kernel = Kernel::of_this_thread();
    auto fd = kernel.open_socket(AF_INET, SOCK_STREAM);
    REQUIRE(fd);
    CHECK((::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(kernel.set_option(fd->get(), SOL_SOCKET, SO_KEEPALIVE, 1));
    CHECK(kernel.set_option(fd->get(), SOL_SOCKET, 12345, 1).error() ==
          std::errc::no_protocol_option);
    CHECK(kernel.open_socket(-1, SOCK_STREAM).error() == std::errc::address_family_not_supported);
}

namespace {

std::size_t thread_count() {
    std::size_t count = 0;
    while (Kernel::of_this_thread().has_more_threads(count)) ++count;
    return count;
}

} // namespace

TEST_CASE("the kernel counts the threads of this process") {
    const std::size_t before = thread_count();
    CHECK(before >= 1);
    std::size_t with_three_more = 0;
    {
        std::latch counted(1);
        std::vector<std::jthread> threads;
        for (int i = 0; i < 3; ++i) threads.emplace_back([&counted] { counted.wait(); });
        with_three_more = thread_count();
        counted.count_down();
    }
    CHECK(with_three_more >= before + 3);
    CHECK(with_three_more <= before + 4); // TSan starts a thread of its own with the first
}

TEST_CASE("a stand-in kernel replaces the clock, sockets and reports of one thread") {
    RecordingKernel recorder;
    Kernel::stand_in(&recorder);
    const auto moment = Clock::now();
    auto listener = TcpListener::bind(loopback());
    UniqueFd(1'000'000'000).reset();
    report_advice({}, "somewhere", std::make_error_code(std::errc::address_in_use));
    Clock::time_point elsewhere;
    std::jthread([&] { elsewhere = Clock::now(); }).join();
    Kernel::stand_in(nullptr);

    CHECK(moment == Clock::time_point(5s));
    CHECK(listener.error() == std::errc::address_not_available);
    CHECK(recorder.closed == 1'000'000'000);
    CHECK(recorder.reported.starts_with("cannot listen on somewhere"));
    CHECK(elsewhere != moment);
    CHECK(Clock::now() != moment);
}
