// Does it pay to pass bytes on with splice(2) instead of a receive and a send? A relay between two TCP connections on
// loopback; the CPU time of its thread for each megabyte in one direction, and for each message that goes there and back.
//
//     build/release/bench/splice_relay

#include <ringlet/endpoint.hpp>
#include <ringlet/unique_fd.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace ringlet;

namespace {

void must(bool well, const char* what) {
    if (well) return;
    std::perror(what);
    std::exit(1);
}

struct Pair {
    UniqueFd near;
    UniqueFd far;
};

Pair connect_over_loopback() {
    const Endpoint any = Endpoint::parse("127.0.0.1:0").value();
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(::bind(listener.get(), any.data(), any.size_bytes()) == 0, "bind");
    must(::listen(listener.get(), 1) == 0, "listen");
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    must(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0, "name");
    Pair pair{.near = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), .far = {}};
    must(::connect(pair.near.get(), reinterpret_cast<sockaddr*>(&address), size) == 0, "connect");
    pair.far = UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    must(static_cast<bool>(pair.far), "accept");
    return pair;
}

/// Forwards what has arrived, once. Returns how many bytes; 0 at the end.
class Relay {
public:
    explicit Relay(bool splices) : splices_(splices) {
        must(::pipe2(pipe_.data(), O_CLOEXEC) == 0, "pipe2");
    }
    ~Relay() {
        for (const int fd : pipe_) ::close(fd);
    }
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;

    std::size_t pass_on(int from, int to) {
        if (!splices_) {
            const ssize_t count = ::recv(from, buffer_.data(), buffer_.size(), 0);
            must(count >= 0, "recv");
            must(::send(to, buffer_.data(), static_cast<std::size_t>(count), 0) == count, "send");
            return static_cast<std::size_t>(count);
        }
        const ssize_t count = ::splice(from, nullptr, pipe_[1], nullptr, 65'536, SPLICE_F_MOVE);
        must(count >= 0, "splice");
        for (ssize_t left = count; left > 0;) {
            const ssize_t moved = ::splice(pipe_[0], nullptr, to, nullptr,
                                           static_cast<std::size_t>(left), SPLICE_F_MOVE);
            must(moved > 0, "splice");
            left -= moved;
        }
        return static_cast<std::size_t>(count);
    }

private:
    bool splices_;
    std::array<int, 2> pipe_{};
    std::vector<char> buffer_ = std::vector<char>(16'384); // as large as ringlet's
};

double cpu_microseconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

double megabyte_us(bool splices) {
    constexpr std::size_t megabytes = 1000;
    const Pair in = connect_over_loopback();
    Pair out = connect_over_loopback();
    std::thread source([&] {
        const std::vector<char> block(1 << 20);
        for (std::size_t i = 0; i < megabytes; ++i)
            must(::send(in.near.get(), block.data(), block.size(), 0) == 1 << 20, "send");
        ::shutdown(in.near.get(), SHUT_WR);
    });
    std::thread sink([&] {
        std::vector<char> block(1 << 20);
        while (::recv(out.far.get(), block.data(), block.size(), 0) > 0) {
        }
    });
    Relay relay(splices);
    const double begin = cpu_microseconds();
    while (relay.pass_on(in.far.get(), out.near.get()) > 0) {
    }
    const double passed = cpu_microseconds() - begin;
    ::shutdown(out.near.get(), SHUT_WR);
    source.join();
    sink.join();
    return passed / megabytes;
}

double message_us(bool splices, std::size_t size_bytes) {
    constexpr int count = 50'000;
    const Pair in = connect_over_loopback();
    Pair out = connect_over_loopback();
    std::thread client([&] {
        std::vector<char> message(size_bytes);
        for (int i = 0; i < count; ++i) {
            must(::send(in.near.get(), message.data(), size_bytes, 0) > 0, "send");
            must(::recv(in.near.get(), message.data(), size_bytes, MSG_WAITALL) > 0, "recv");
        }
        ::shutdown(in.near.get(), SHUT_WR);
    });
    std::thread server([&] {
        std::vector<char> message(size_bytes);
        while (::recv(out.far.get(), message.data(), size_bytes, MSG_WAITALL) > 0)
            must(::send(out.far.get(), message.data(), size_bytes, 0) > 0, "send");
    });
    Relay relay(splices);
    const double begin = cpu_microseconds();
    std::array<pollfd, 2> ends = {pollfd{.fd = in.far.get(), .events = POLLIN, .revents = 0},
                                  pollfd{.fd = out.near.get(), .events = POLLIN, .revents = 0}};
    for (bool goes_on = true; goes_on;) {
        must(::poll(ends.data(), ends.size(), -1) > 0, "poll");
        for (std::size_t i = 0; i < 2; ++i) {
            if (ends[i].revents != 0 && relay.pass_on(ends[i].fd, ends[1 - i].fd) == 0)
                goes_on = false;
        }
    }
    const double passed = cpu_microseconds() - begin;
    ::shutdown(out.near.get(), SHUT_WR);
    client.join();
    server.join();
    return passed / count;
}

} // namespace

int main() {
    constexpr int rounds = 5;
    const auto compare = [](const char* what, auto measure) {
        std::array<double, rounds> copied{};
        std::array<double, rounds> spliced{};
        for (int i = 0; i < rounds; ++i) {
            copied[static_cast<std::size_t>(i)] = measure(false);
            spliced[static_cast<std::size_t>(i)] = measure(true);
        }
        std::sort(copied.begin(), copied.end());
        std::sort(spliced.begin(), spliced.end());
        std::printf("%-36s copied %8.2f us   spliced %8.2f us   ratio %.2f\n", what,
                    copied[rounds / 2], spliced[rounds / 2],
                    copied[rounds / 2] / spliced[rounds / 2]);
    };
    compare("a megabyte, one way", megabyte_us);
    compare("64 bytes, there and back", [](bool splices) { return message_us(splices, 64); });
    compare("16 KiB, there and back", [](bool splices) { return message_us(splices, 16'384); });
}
