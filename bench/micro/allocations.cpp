#include "allocations.hpp"

#include "echo.hpp"

#include <ringlet/ringlet.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>

#include <sys/socket.h>
#include <unistd.h>

using namespace ringlet;

static std::atomic<std::uint64_t> allocation_count{0};

static void* counted(void* memory) {
    allocation_count.fetch_add(1, std::memory_order_relaxed);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

[[gnu::noinline]] void* operator new(std::size_t size) { return counted(std::malloc(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    const auto step = static_cast<std::size_t>(alignment);
    return counted(std::aligned_alloc(step, (size + step - 1) / step * step));
}
// Not inlined: g++ would warn that malloc and operator delete do not match.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

namespace {

/// A blocking client that allocates nothing.
int connect_to(const Endpoint& server) {
    const int fd = ::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ::connect(fd, server.data(), server.size_bytes()) != 0) {
        std::perror("micro: connect");
        std::exit(1);
    }
    return fd;
}

void echo_once(int fd) {
    std::array<char, 64> message{};
    if (::send(fd, message.data(), message.size(), 0) != static_cast<ssize_t>(message.size()) ||
        ::recv(fd, message.data(), message.size(), MSG_WAITALL) !=
            static_cast<ssize_t>(message.size())) {
        std::perror("micro: echo");
        std::exit(1);
    }
}

} // namespace

Allocations count_allocations() {
    constexpr int warm_up = 200;
    constexpr int count = 2000;
    ServeOptions options;
    options.listen = "127.0.0.1:0";
    options.handle_signals = false;
    std::atomic<Server*> running{nullptr};
    std::thread serving([&] {
        auto server = Server::create(options);
        if (!server) std::exit(exit_status(server));
        running = &*server;
        running.notify_one();
        auto report = server->run(echo<TcpStream>);
        if (!report) std::exit(exit_status(report));
    });
    running.wait(nullptr);
    const Endpoint address = running.load()->local();

    Allocations allocations;
    const auto connections = [&](int connection_count) {
        for (int i = 0; i < connection_count; ++i) {
            const int fd = connect_to(address);
            echo_once(fd);
            ::close(fd);
        }
    };
    // Now and then the server sees two connections at once: the next one, and the end of the previous one.
    std::array<int, 16> together{};
    for (int& fd : together) fd = connect_to(address);
    for (const int fd : together) echo_once(fd);
    for (const int fd : together) ::close(fd);
    connections(warm_up);
    std::uint64_t before = allocation_count;
    connections(count);
    allocations.per_connection = static_cast<double>(allocation_count - before) / count;

    const int fd = connect_to(address);
    for (int i = 0; i < warm_up; ++i) echo_once(fd);
    before = allocation_count;
    for (int i = 0; i < count; ++i) echo_once(fd);
    allocations.per_message = static_cast<double>(allocation_count - before) / count;
    ::close(fd);

    running.load()->stop();
    serving.join();
    return allocations;
}
