#pragma once

// Shared by the tests of the loop, the sockets and the server: connected pairs, small blocking clients,
// counts of open descriptors, and programs that are expected to die.

#include "support.hpp"

#include <ringlet/endpoint.hpp>
#include <ringlet/unique_fd.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ringlet::testing {

/// The number of open descriptors of this process.
inline std::size_t descriptor_count() {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

/// Bytes that differ from their neighbours, so that a lost or doubled piece is found.
inline std::vector<std::byte> pattern(std::size_t size_bytes) {
    std::vector<std::byte> bytes(size_bytes);
    std::uint32_t state = 1;
    for (std::byte& byte : bytes) {
        state = state * 1'664'525 + 1'013'904'223;
        byte = static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

template <class Bytes>
std::string text_of(const Bytes& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- blocking sockets ---------------------------------------------------------------------------

struct FdPair {
    UniqueFd first;
    UniqueFd second;
};

/// socketpair(2).
inline FdPair socket_pair() {
    std::array<int, 2> fds{-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

inline Endpoint loopback(std::string_view text = "127.0.0.1:0") {
    auto endpoint = Endpoint::parse(text);
    REQUIRE(endpoint);
    return *endpoint;
}

/// The address that a raw socket is bound to.
inline Endpoint address_of(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return Endpoint::from_sockaddr(address);
}

/// A bound socket; with a backlog it also listens.
inline UniqueFd bound_socket(const Endpoint& endpoint, int backlog = -1) {
    UniqueFd fd(::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(fd);
    REQUIRE(::bind(fd.get(), endpoint.data(), endpoint.size_bytes()) == 0);
    if (backlog >= 0) REQUIRE(::listen(fd.get(), backlog) == 0);
    return fd;
}

/// A blocking client; owns nothing if the connection failed (see errno). Its reads end after
/// `read_limit_seconds`, so that no test waits forever.
inline constexpr int read_limit_seconds = 60;
inline UniqueFd connect_to(const Endpoint& endpoint) {
    UniqueFd fd(::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{.tv_sec = read_limit_seconds, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::connect(fd.get(), endpoint.data(), endpoint.size_bytes()) != 0) {
        const int number = errno;
        fd.reset();
        errno = number;
    }
    return fd;
}

/// Two ends of a TCP connection over loopback.
inline FdPair tcp_pair(std::string_view address = "127.0.0.1:0") {
    const UniqueFd listener = bound_socket(loopback(address), 1);
    UniqueFd client = connect_to(address_of(listener.get()));
    REQUIRE(client);
    UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(server);
    return {std::move(client), std::move(server)};
}

inline bool has_ipv6() {
    const UniqueFd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Endpoint any = loopback("[::1]:0");
    return fd && ::bind(fd.get(), any.data(), any.size_bytes()) == 0;
}

/// read(2). A read with a time limit is not restarted by the kernel (signal(7)).
inline ssize_t read_some(int fd, char* memory, std::size_t size_bytes) {
    for (;;) {
        const ssize_t got = ::read(fd, memory, size_bytes);
        if (got >= 0 || errno != EINTR) return got;
    }
}

inline bool write_all(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
}

inline bool write_all(int fd, std::string_view text) { return write_all(fd, bytes_of(text)); }

/// Up to `size_bytes` bytes; fewer when the peer finishes or fails first.
inline std::string read_up_to(int fd, std::size_t size_bytes) {
    std::string text(size_bytes, '\0');
    std::size_t filled = 0;
    while (filled < size_bytes) {
        const ssize_t got = read_some(fd, text.data() + filled, size_bytes - filled);
        if (got <= 0) break;
        filled += static_cast<std::size_t>(got);
    }
    text.resize(filled);
    return text;
}

/// How the connection ended, seen from a blocking client: 0 for a FIN, otherwise an errno. Data that
/// still arrives is discarded. EAGAIN: it did not end in time.
inline int end_of(int fd) {
    std::array<char, 4096> rest{};
    for (;;) {
        const ssize_t got = read_some(fd, rest.data(), rest.size());
        if (got == 0) return 0;
        if (got < 0) return errno;
    }
}

/// True when the peer has closed or reset the connection.
inline bool is_ended(int fd) {
    const int how = end_of(fd);
    return how == 0 || how == ECONNRESET;
}

/// True when something can be read from the descriptor within `limit_ms`.
inline bool is_readable(int fd, int limit_ms) {
    pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&watched, 1, limit_ms) == 1;
}

/// Makes close send a RST.
inline void reset_on_close(int fd) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
}

// ---- loops --------------------------------------------------------------------------------------

/// A loop that keeps its reports.
struct ReportingLoop {
    explicit ReportingLoop(unsigned ring_entries = 256) : made(create(ring_entries)) {
        REQUIRE_MESSAGE(made, made.error().message());
    }
    ReportingLoop(const ReportingLoop&) = delete;
    ReportingLoop& operator=(const ReportingLoop&) = delete;

    EventLoop& operator*() { return *made; }
    EventLoop* operator->() { return &*made; }

    std::vector<std::string> reports;

private:
    Result<EventLoop> create(unsigned ring_entries) {
        LoopOptions options;
        options.ring_entries = ring_entries;
        options.report = [this](std::string_view line) { reports.emplace_back(line); };
        return EventLoop::create(std::move(options));
    }
    Result<EventLoop> made;
};

/// Removes all signal handlers while it lives, such as the one of the tests' watchdog.
class WithoutSignalHandlers {
public:
    WithoutSignalHandlers() {
        for (int number = 1; number <= SIGRTMAX; ++number) {
            auto& action = before_[static_cast<std::size_t>(number)];
            if (::sigaction(number, nullptr, &action) != 0 || action.sa_handler == SIG_IGN)
                continue;
            struct sigaction by_default{};
            by_default.sa_handler = SIG_DFL;
            ::sigaction(number, &by_default, nullptr);
        }
    }
    WithoutSignalHandlers(const WithoutSignalHandlers&) = delete;
    WithoutSignalHandlers& operator=(const WithoutSignalHandlers&) = delete;
    ~WithoutSignalHandlers() {
        for (int number = 1; number <= SIGRTMAX; ++number) {
            ::sigaction(number, &before_[static_cast<std::size_t>(number)], nullptr);
        }
    }

private:
    std::array<struct sigaction, _NSIG> before_{};
};

inline void check_nothing_left(EventLoop& loop) {
    const LoopStats stats = loop.stats();
    CHECK(stats.live_tasks == 0);
    CHECK(stats.operations_in_flight == 0);
    CHECK(stats.armed_timers == 0);
}

/// Counts its instances, to check that the locals of a frame were destroyed.
struct Counted {
    explicit Counted(int& count) : count_(&count) { ++*count_; }
    Counted(const Counted& other) : count_(other.count_) { ++*count_; }
    Counted(Counted&& other) noexcept : count_(other.count_) { ++*count_; }
    Counted& operator=(const Counted&) = delete;
    Counted& operator=(Counted&&) = delete;
    ~Counted() { --*count_; }

private:
    int* count_;
};

// ---- child processes ----------------------------------------------------------------------------

/// How a child process ended, and what it wrote to stderr.
struct Ending {
    int signal = 0;
    int status = -1; ///< its exit status, if no signal ended it
    std::string errors;

    [[nodiscard]] bool says(std::string_view text) const {
        return errors.find(text) != std::string::npos;
    }
};

inline Ending wait_for_end(pid_t child) {
    int state = 0;
    REQUIRE(::waitpid(child, &state, 0) == child);
    Ending ending;
    if (WIFSIGNALED(state)) ending.signal = WTERMSIG(state);
    if (WIFEXITED(state)) ending.status = WEXITSTATUS(state);
    return ending;
}

/// Runs `fn` in a forked child, whose exit status is the return value. The child ends within a
/// minute.
template <class Fn>
pid_t start_child(Fn fn) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child != 0) return child;

    for (const int number : {SIGABRT, SIGALRM, SIGTERM, SIGINT, SIGSEGV}) {
        std::signal(number, SIG_DFL);
    }
    ::alarm(60);
    int status = 99;
    try {
        status = fn();
    } catch (...) {
        status = 98;
    }
    std::fflush(nullptr);
    ::_exit(status);
}

/// Runs `fn` in a child process that is expected to die, and returns how it ended.
template <class Fn>
Ending end_of_child(Fn fn) {
    std::array<int, 2> ends{-1, -1};
    REQUIRE(::pipe(ends.data()) == 0);
    UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    const pid_t child = start_child([&] {
        ::dup2(writing.get(), STDERR_FILENO);
        return fn();
    });
    writing.reset();
    std::string errors = read_up_to(reading.get(), std::size_t{1} << 16);
    Ending ending = wait_for_end(child);
    ending.errors = std::move(errors);
    return ending;
}

} // namespace ringlet::testing
