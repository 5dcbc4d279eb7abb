#include "net/socket.hpp"

#include "net.hpp"

#include <array>
#include <string>

#include <fcntl.h>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("dropping an idle socket closes it at once") {
    auto pair = socket_pair();
    auto* socket = new Socket(std::move(pair.first));
    CHECK(socket->is_idle());
    socket->cancel_requests(); // nothing to cancel, and no loop yet
    socket->drop();
    CHECK(end_of(pair.second.get()) == 0);
}

TEST_CASE("a socket dropped with requests in flight lives until the last result is read") {
    auto pair = socket_pair();
    ReportingLoop loop;
    std::string trace;
    auto* socket = new Socket(std::move(pair.first));
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            std::array<std::byte, 8> memory{};
            socket->inbound.configure(Opcode::recv, socket->fd(), memory.data(), memory.size());
            auto received = co_await TransferAwaiter(*socket, socket->inbound);
            CHECK(received.error() == std::errc::operation_canceled);
            trace += 'r';
        });
        loop->spawn([&]() -> Task<> {
            const std::vector<std::byte> much(std::size_t{64} << 20);
            socket->outbound.configure(Opcode::send, socket->fd(),
                                       const_cast<std::byte*>(much.data()), much.size(),
                                       Operation::Extent::whole);
            auto sent = co_await WholeAwaiter(*socket, socket->outbound);
            CHECK(sent.error() == std::errc::operation_canceled);
            trace += 's';
        });
        while (loop->stats().operations_in_flight < 2) static_cast<void>(co_await yield());
        CHECK_FALSE(socket->is_idle());
        const int fd = socket->fd();
        socket->drop();
        CHECK(::fcntl(fd, F_GETFD) >= 0); // still open: the kernel has it
        while (trace.size() < 2) static_cast<void>(co_await yield());
        CHECK(::fcntl(fd, F_GETFD) < 0);
    });
    CHECK(result);
    CHECK(is_ended(pair.second.get()));
}

TEST_CASE("a socket is not idle while a result is unread") {
    auto pair = socket_pair();
    Socket socket(std::move(pair.first));
    std::byte byte{};
    socket.inbound.configure(Opcode::recv, socket.fd(), &byte, 1);
    CHECK(socket.is_idle());
    socket.inbound.state = Operation::State::in_flight;
    CHECK_FALSE(socket.is_idle());
    CHECK(socket.inbound.finish(1));
    CHECK_FALSE(socket.is_idle());
    socket.inbound.consume();
    CHECK(socket.is_idle());
}

TEST_CASE("a TCP socket opens with the requested no_delay, and closes on exec") {
    for (const bool no_delay : {true, false}) {
        auto fd = open_tcp_socket(AF_INET, no_delay, Liveness());
        REQUIRE(fd);
        int value = -1;
        socklen_t size = sizeof value;
        CHECK(::getsockopt(fd->get(), IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0);
        CHECK((value != 0) == no_delay);
        CHECK((::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((::fcntl(fd->get(), F_GETFL) & O_NONBLOCK) == 0); // io_uring does not need it
    }
    auto impossible = open_tcp_socket(-1, true, Liveness());
    CHECK(impossible.error() == std::errc::address_family_not_supported);
}
