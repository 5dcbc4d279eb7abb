#include <ringlet/stream_listener.hpp>

#include <ringlet/error.hpp>
#include <ringlet/when.hpp>

#include "net.hpp"
#include "recording_kernel.hpp"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

int integer_option(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    ::getsockopt(fd, level, name, &value, &size);
    return value;
}

UniqueFd duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

bool accepts_one(StreamListener& listener) {
    const Endpoint address = listener.local();
    UniqueFd client = connect_to(address);
    bool accepted = false;
    auto accept = [&]() -> Task<> {
        auto stream = co_await listener.accept();
        accepted = static_cast<bool>(stream);
    };
    CHECK(run_on_loop(accept));
    return client && accepted;
}

} // namespace

TEST_CASE("a socket that already listens is adopted") {
    const std::string path = "/tmp/ringlet-adopt-" + std::to_string(::getpid());
    for (const std::string& where : {std::string("127.0.0.1:0"), "unix:@" + path, "unix:" + path}) {
        CAPTURE(where);
        const UniqueFd opened = bound_socket(loopback(where), 10);
        const Endpoint address = address_of(opened.get());
        ::fcntl(opened.get(), F_SETFL, O_NONBLOCK);
        auto listener = StreamListener::adopt(duplicate(opened.get()));
        REQUIRE(listener);
        CHECK(listener->local() == address);
        CHECK((::fcntl(opened.get(), F_GETFL) & O_NONBLOCK) == 0);
        CHECK(accepts_one(*listener));
        // No client is refused afterwards: the socket's opener still listens.
        listener->refuse_new();
        *listener = StreamListener();
        auto next = StreamListener::adopt(duplicate(opened.get()));
        REQUIRE(next);
        CHECK(accepts_one(*next));
    }
    CHECK(std::filesystem::exists(path)); // it is not ours
    std::filesystem::remove(path);
}

TEST_CASE("an adopted socket gets the same options as one that is bound here") {
    ListenOptions options;
    options.liveness.keep_alive = std::chrono::seconds(30);
    auto listener = StreamListener::adopt(bound_socket(loopback(), 10), options);
    REQUIRE(listener);
    const int fd = listener->native_handle();
    CHECK(integer_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(integer_option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
    CHECK(integer_option(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 30);
}

TEST_CASE("anything but a listening stream socket is refused") {
    const FdPair connected = tcp_pair();
    CHECK(StreamListener::adopt(duplicate(connected.first.get())).error() == Errc::not_listening);
    CHECK(StreamListener::adopt(bound_socket(loopback())).error() == Errc::not_listening);
    CHECK(StreamListener::adopt(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))).error() ==
          Errc::not_listening);
    CHECK(
        StreamListener::adopt(UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))).error() ==
        Errc::not_listening);
    CHECK(StreamListener::adopt(UniqueFd()).error() == Errc::not_listening);
    UniqueFd packets(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const Endpoint name = loopback("unix:@ringlet-packets-" + std::to_string(::getpid()));
    REQUIRE(::bind(packets.get(), name.data(), name.size_bytes()) == 0);
    REQUIRE(::listen(packets.get(), 1) == 0);
    CHECK(StreamListener::adopt(std::move(packets)).error() == Errc::not_listening);
    const std::size_t before = descriptor_count();
    CHECK(StreamListener::adopt_several(bound_socket(loopback()), 3).error() ==
          Errc::not_listening);
    CHECK(descriptor_count() == before);
}

TEST_CASE("several listeners adopt one socket, and each accepts from its queue") {
    auto listeners = StreamListener::adopt_several(bound_socket(loopback(), 10), 3);
    REQUIRE(listeners);
    REQUIRE(listeners->size() == 3);
    for (StreamListener& listener : *listeners) {
        CHECK(listener.local() == listeners->front().local());
        CHECK(accepts_one(listener));
    }
}

// accept_waiting switches O_NONBLOCK of the queue on and off: a second loop could block in between.
TEST_CASE("loops that share a queue call accept_waiting one at a time") {
    auto listeners = StreamListener::adopt_several(bound_socket(loopback(), 10), 3);
    REQUIRE(listeners);
    std::atomic<int> inside{0};
    std::atomic<bool> together{false};
    std::vector<std::thread> loops;
    for (StreamListener& listener : *listeners) {
        loops.emplace_back([&] {
            RecordingKernel kernel;
            kernel.accepting = [&] {
                if (++inside > 1) together = true;
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                --inside;
            };
            Kernel::stand_in(&kernel);
            for (int i = 0; i < 30; ++i) CHECK(listener.accept_waiting(4));
            Kernel::stand_in(nullptr);
        });
    }
    for (std::thread& loop : loops) loop.join();
    CHECK_FALSE(together);
}
