#include <ringlet/detail/socket_handle.hpp>

#include "net.hpp"
#include "net/socket.hpp"

#include <array>
#include <memory>
#include <string>
#include <type_traits>

using namespace ringlet;
using namespace ringlet::testing;

static_assert(!std::is_copy_constructible_v<SocketHandle>);
static_assert(std::is_nothrow_move_constructible_v<SocketHandle>);
// Both are part of every waiting frame, so they are small: a request is in the socket, not in the awaiter.
static_assert(sizeof(SocketHandle) == sizeof(void*));
static_assert(sizeof(RecvBufferAwaiter) <= 2 * sizeof(void*));
static_assert(std::is_trivially_destructible_v<RecvBufferAwaiter>);
static_assert(std::is_trivially_destructible_v<WholeAwaiter>);

namespace {

SocketHandle handle_of(UniqueFd fd) { return SocketHandle(new Socket(std::move(fd))); }

} // namespace

TEST_CASE("a handle closes its idle socket once when it is destroyed, wherever it was moved") {
    auto pair = socket_pair();
    const std::size_t open_before = descriptor_count();
    {
        SocketHandle first = handle_of(std::move(pair.first));
        SocketHandle second(std::move(first));
        CHECK_FALSE(first); // NOLINT: what a move leaves is promised
        CHECK(second);
        SocketHandle third;
        third = std::move(second);
        CHECK(third);
        SocketHandle& itself = third;
        third = std::move(itself);
        CHECK(third);
        CHECK(descriptor_count() == open_before);
    }
    CHECK(descriptor_count() == open_before - 1);
    CHECK(end_of(pair.second.get()) == 0);
}

TEST_CASE("assigning over a handle drops the socket that it had") {
    auto pair = socket_pair();
    auto other = socket_pair();
    SocketHandle handle = handle_of(std::move(pair.first));
    handle = handle_of(std::move(other.first));
    CHECK(end_of(pair.second.get()) == 0);
    CHECK_FALSE(is_readable(other.second.get(), 0));
}

TEST_CASE("a released socket belongs to the caller of release") {
    auto pair = socket_pair();
    SocketHandle handle = handle_of(std::move(pair.first));
    Socket* socket = handle.release();
    CHECK_FALSE(handle);
    handle = SocketHandle();
    CHECK_FALSE(is_readable(pair.second.get(), 0));
    delete socket;
    CHECK(end_of(pair.second.get()) == 0);
}

TEST_CASE("each awaiter turns a completion into its own kind of result") {
    auto pair = socket_pair();
    REQUIRE(write_all(pair.second.get(), "abcdefgh"));
    REQUIRE(::shutdown(pair.second.get(), SHUT_WR) == 0);
    auto result = run_on_loop([&]() -> Task<> {
        SocketHandle handle = handle_of(std::move(pair.first));
        Socket& socket = *handle.get();
        std::array<std::byte, 3> memory{};

        socket.inbound.configure(Opcode::recv, socket.fd(), memory.data(), memory.size());
        auto count = co_await TransferAwaiter(socket, socket.inbound);
        CHECK(count);
        CHECK(*count == 3);

        socket.inbound.configure(Opcode::recv, socket.fd(), memory.data(), memory.size(),
                                 Operation::Extent::whole);
        auto whole = co_await WholeAwaiter(socket, socket.inbound);
        CHECK(whole);
        CHECK(text_of(memory) == "def");

        socket.inbound.configure(Opcode::recv_buffer, socket.fd(), nullptr, Buffer::capacity_bytes);
        auto buffer = co_await RecvBufferAwaiter(socket, socket.inbound);
        CHECK(buffer);
        CHECK(text_of(*buffer) == "gh");
        CHECK(socket.inbound.data == nullptr); // the buffer now owns the memory

        socket.inbound.configure(Opcode::recv, socket.fd(), memory.data(), memory.size(),
                                 Operation::Extent::whole);
        auto end = co_await WholeAwaiter(socket, socket.inbound);
        CHECK(end.error() == Errc::end_of_stream);

        socket.inbound.configure(Opcode::recv, -1, memory.data(), memory.size());
        auto wrong = co_await TransferAwaiter(socket, socket.inbound);
        CHECK(wrong.error() == std::errc::bad_file_descriptor);
        CHECK(socket.is_idle());
    });
    CHECK(result);
}

TEST_CASE("a refused receive leaves no buffer behind") {
    auto pair = socket_pair();
    ReportingLoop loop;
    bool told = false;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn(
            [&](UniqueFd fd) -> Task<> {
                SocketHandle handle = handle_of(std::move(fd));
                Socket& socket = *handle.get();
                auto slept = co_await sleep_for(std::chrono::hours(1));
                CHECK_FALSE(slept);
                for (int i = 0; i < 10; ++i) {
                    socket.inbound.configure(Opcode::recv, socket.fd(), nullptr, 0);
                    auto refused = co_await RecvBufferAwaiter(socket, socket.inbound);
                    CHECK(refused.error() == std::errc::operation_canceled);
                    CHECK(socket.inbound.data == nullptr); // LeakSanitizer checks too
                }
                told = true;
            },
            std::move(pair.first));
        while (loop->stats().armed_timers == 0) static_cast<void>(co_await yield());
    });
    CHECK(result);
    CHECK(told);
}

TEST_CASE("closing an empty handle or an idle socket succeeds") {
    auto pair = socket_pair();
    auto result = run_on_loop([&]() -> Task<> {
        auto nothing = co_await CloseAwaiter(SocketHandle());
        CHECK(nothing);
        SocketHandle handle = handle_of(std::move(pair.first));
        auto closed = co_await CloseAwaiter(std::move(handle));
        CHECK(closed);
        CHECK(end_of(pair.second.get()) == 0);
    });
    CHECK(result);
}

TEST_CASE("using a socket on two loops aborts") {
    const Ending ending = end_of_child([] {
        auto pair = socket_pair();
        TcpStream stream(std::move(pair.first));
        static_cast<void>(write_all(pair.second.get(), "ab"));
        std::array<std::byte, 1> memory{};
        auto receive = [&]() -> Task<> { static_cast<void>(co_await stream.recv(memory)); };
        auto first = EventLoop::create();
        auto second = EventLoop::create();
        static_cast<void>(first->run(receive));
        static_cast<void>(second->run(receive));
        return 0;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("a socket was used on two loops"));
}
