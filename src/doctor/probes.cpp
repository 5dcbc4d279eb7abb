#include "probes.hpp"

#include "in_a_child.hpp"
#include "raw_ring.hpp"

#include <ringlet/backend.hpp>
#include <ringlet/error.hpp>
#include <ringlet/unique_fd.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <linux/eventpoll.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using ringlet::UniqueFd;

namespace {

// The kernel's headers may be too old to have these.
constexpr unsigned setup_single_issuer = 1U << 12;    // Linux 6.0
constexpr unsigned setup_defer_taskrun = 1U << 13;    // Linux 6.1
constexpr std::uint16_t accept_multishot = 1U << 0;   // Linux 5.19
constexpr unsigned feature_no_iowait = 1U << 17;      // Linux 6.15
constexpr std::uint16_t accept_poll_first = 1U << 2;  // Linux 6.10
constexpr std::uint16_t receive_multishot = 1U << 1;  // Linux 6.0
constexpr std::uint8_t send_zero_copy = 47;           // Linux 6.0
constexpr std::uint16_t report_copies = 1U << 3;      // Linux 6.2
constexpr std::uint8_t fixed_descriptor_install = 54; // Linux 6.8
constexpr long epoll_pwait2_number = 441;             // Linux 5.11, on all architectures
constexpr long pidfd_open_number = 434;               // Linux 5.3, on all architectures
constexpr int wait_by_descriptor = 3;                 // P_PIDFD, Linux 5.4
constexpr int udp_segment = 103;                      // Linux 4.18
constexpr int udp_join = 104;                         // UDP_GRO, Linux 5.0
constexpr int tcp_upper_protocol = 31;                // TCP_ULP (linux/tcp.h), Linux 4.13

// The kernel's own answer to an unknown request.
std::error_code not_in_this_kernel() { return ringlet::error_from_errno(EINVAL); }

// ---- io_uring -----------------------------------------------------------------------------------------

std::error_code noop_and_back(RawRing& ring) {
    io_uring_cqe completion{};
    if (auto error = ring.submit([](io_uring_sqe& entry) { entry.opcode = IORING_OP_NOP; })) {
        return error;
    }
    return ring.wait(completion);
}

// ---- what it takes to accept -----------------------------------------------------------------------

struct Listener {
    UniqueFd fd;
    sockaddr_in address{};
};

sockaddr* generic(sockaddr_in& address) { return reinterpret_cast<sockaddr*>(&address); }

std::error_code listen_on_loopback(Listener& listener) {
    listener.address.sin_family = AF_INET;
    listener.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof listener.address;
    listener.fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener.fd || ::bind(listener.fd.get(), generic(listener.address), size) != 0 ||
        ::listen(listener.fd.get(), 2) != 0 ||
        ::getsockname(listener.fd.get(), generic(listener.address), &size) != 0) {
        return last_error();
    }
    return {};
}

// One operation accepts `clients`. The kernel may be too old for `flags`.
std::error_code accept_by_one_operation(RawRing& ring, std::uint16_t flags,
                                        std::span<UniqueFd> clients) {
    Listener listener;
    if (auto error = listen_on_loopback(listener)) return error;
    const auto accept = [&](io_uring_sqe& entry) {
        entry.opcode = IORING_OP_ACCEPT;
        entry.ioprio = flags;
        entry.fd = listener.fd.get();
    };
    if (auto error = ring.submit(accept)) return error;
    for (UniqueFd& client : clients) {
        client.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!client) return last_error();
        const int answer =
            ::connect(client.get(), generic(listener.address), sizeof listener.address);
        if (answer != 0 && errno != EINPROGRESS) return last_error();
        io_uring_cqe completion{};
        if (auto error = ring.wait(completion)) return error;
        const bool more = (completion.flags & IORING_CQE_F_MORE) != 0;
        if (clients.size() > 1 && !more) return not_in_this_kernel();
    }
    return {};
}

// ---- what it takes to receive and send -------------------------------------------------------------

struct Connection {
    UniqueFd client;
    UniqueFd server;
};

std::error_code connect_on_loopback(Connection& connection) {
    Listener listener;
    if (auto error = listen_on_loopback(listener)) return error;
    connection.client.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!connection.client || ::connect(connection.client.get(), generic(listener.address),
                                        sizeof listener.address) != 0) {
        return last_error();
    }
    connection.server.reset(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return connection.server ? std::error_code() : last_error();
}

// One operation receives a byte and stays for more.
std::error_code receive_by_one_operation(RawRing& ring) {
    static std::byte buffer[1];
    Connection connection;
    if (auto error = connect_on_loopback(connection)) return error;
    if (auto error = ring.register_buffers(buffer)) return error;
    const auto receive = [&](io_uring_sqe& entry) {
        entry.opcode = IORING_OP_RECV;
        entry.ioprio = receive_multishot;
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.fd = connection.server.get();
    };
    if (auto error = ring.submit(receive)) return error;
    if (::send(connection.client.get(), "x", 1, MSG_NOSIGNAL) != 1) return last_error();
    io_uring_cqe completion{};
    if (auto error = ring.wait(completion)) return error;
    return (completion.flags & IORING_CQE_F_MORE) != 0 ? std::error_code() : not_in_this_kernel();
}

std::error_code send_without_a_copy(RawRing& ring) {
    Connection connection;
    if (auto error = connect_on_loopback(connection)) return error;
    const auto send = [&](io_uring_sqe& entry) {
        entry.opcode = send_zero_copy;
        entry.ioprio = report_copies;
        entry.fd = connection.client.get();
        entry.addr = reinterpret_cast<std::uintptr_t>("x");
        entry.len = 1;
    };
    if (auto error = ring.submit(send)) return error;
    io_uring_cqe completion{};
    return ring.wait(completion);
}

// A file in the ring's table gets a descriptor: the most recent kernel feature that direct descriptors need.
std::error_code install_a_descriptor(RawRing& ring) {
    UniqueFd file(::eventfd(0, EFD_CLOEXEC));
    if (!file) return last_error();
    if (auto error = ring.register_file(file.get())) return error;
    const auto install = [](io_uring_sqe& entry) {
        entry.opcode = fixed_descriptor_install;
        entry.flags = IOSQE_FIXED_FILE;
    };
    if (auto error = ring.submit(install)) return error;
    io_uring_cqe completion{};
    return ring.wait(completion);
}

// ---- epoll -----------------------------------------------------------------------------------------

// Makes an epoll with one event that is already pending.
std::error_code make_epoll(UniqueFd& epoll, UniqueFd& source) {
    epoll.reset(static_cast<int>(::syscall(SYS_epoll_create1, EPOLL_CLOEXEC)));
    if (!epoll) return last_error();
    source.reset(::eventfd(1, EFD_CLOEXEC));
    if (!source) return last_error();
    epoll_event event{};
    event.events = EPOLLIN;
    if (::syscall(SYS_epoll_ctl, epoll.get(), EPOLL_CTL_ADD, source.get(), &event) != 0) {
        return last_error();
    }
    return {};
}

} // namespace

std::string name_of(const Answer& answer) {
    if (answer.killed_by == SIGSYS) return "SIGSYS";
    if (answer.killed_by == SIGALRM) return "no answer";
    if (answer.killed_by != 0) return "killed by signal " + std::to_string(answer.killed_by);
    static constexpr std::pair<int, const char*> names[] = {
        {EACCES, "EACCES"}, {EADDRNOTAVAIL, "EADDRNOTAVAIL"},
        {EAGAIN, "EAGAIN"}, {EBADF, "EBADF"},
        {EBUSY, "EBUSY"},   {EINVAL, "EINVAL"},
        {EMFILE, "EMFILE"}, {ENETUNREACH, "ENETUNREACH"},
        {ENFILE, "ENFILE"}, {ENOMEM, "ENOMEM"},
        {ENOSYS, "ENOSYS"}, {EOPNOTSUPP, "EOPNOTSUPP"},
        {EPERM, "EPERM"},   {ETIME, "ETIME"},
    };
    for (const auto& [number, name] : names) {
        if (answer.error.value() == number) return name;
    }
    return "errno " + std::to_string(answer.error.value());
}

Answer try_setup() {
    return in_a_child([] {
        RawRing ring;
        return ring.open(0);
    });
}

Answer try_noop() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        return noop_and_back(ring);
    });
}

Answer try_nodrop() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        return ring.has(IORING_FEAT_NODROP) ? std::error_code() : not_in_this_kernel();
    });
}

Answer try_wait_with_timeout() {
    return in_a_child([]() -> std::error_code {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        if (!ring.has(IORING_FEAT_EXT_ARG)) return not_in_this_kernel();
        const auto answer = ring.wait_for_nothing();
        if (answer == std::errc::stream_timeout) return {}; // ETIME
        return answer ? answer : not_in_this_kernel();
    });
}

Answer try_registered_ring() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        if (auto error = ring.register_descriptor()) return error;
        return noop_and_back(ring);
    });
}

Answer try_multishot_accept() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        std::array<UniqueFd, 2> clients;
        return accept_by_one_operation(ring, accept_multishot, clients);
    });
}

Answer try_accept_poll_first() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        std::array<UniqueFd, 1> clients;
        return accept_by_one_operation(ring, accept_poll_first, clients);
    });
}

Answer try_provided_buffers() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        return ring.register_buffers({});
    });
}

Answer try_multishot_receive() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        return receive_by_one_operation(ring);
    });
}

Answer try_zero_copy_send() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        return send_without_a_copy(ring);
    });
}

Answer try_direct_descriptors() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        return install_a_descriptor(ring);
    });
}

Answer try_no_iowait() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(0)) return error;
        return ring.has(feature_no_iowait) ? std::error_code() : not_in_this_kernel();
    });
}

Answer try_defer_taskrun() {
    return in_a_child([] {
        RawRing ring;
        if (auto error = ring.open(setup_single_issuer | setup_defer_taskrun)) return error;
        return noop_and_back(ring);
    });
}

Answer try_ringlet() {
    return in_a_child([] { return ringlet::probe_io_uring(); });
}

Answer try_loopback() {
    return in_a_child([] {
        Connection connection;
        return connect_on_loopback(connection);
    });
}

Answer try_epoll() {
    return in_a_child([]() -> std::error_code {
        UniqueFd epoll;
        UniqueFd source;
        if (auto error = make_epoll(epoll, source)) return error;
        epoll_event event{};
        const long count =
            ::syscall(SYS_epoll_pwait, epoll.get(), &event, 1, 1000, nullptr, std::size_t{0});
        return count == 1 ? std::error_code() : last_error();
    });
}

Answer try_child_processes() {
    return in_a_child([]() -> std::error_code {
        const pid_t child = ::fork();
        if (child < 0) return last_error();
        if (child == 0) ::_exit(0);
        const UniqueFd descriptor(static_cast<int>(::syscall(pidfd_open_number, child, 0)));
        const std::error_code refused = descriptor ? std::error_code() : last_error();
        siginfo_t ended{};
        const auto kind = static_cast<idtype_t>(descriptor ? wait_by_descriptor : P_PID);
        const auto name = static_cast<id_t>(descriptor ? descriptor.get() : child);
        if (::waitid(kind, name, &ended, WEXITED) != 0) return last_error();
        return refused;
    });
}

Answer try_datagram_segments() {
    return in_a_child([]() -> std::error_code {
        const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        if (!socket) return last_error();
        const int size_bytes = 100;
        if (::setsockopt(socket.get(), IPPROTO_UDP, udp_segment, &size_bytes, sizeof size_bytes) !=
            0)
            return last_error();
        const int on = 1;
        if (::setsockopt(socket.get(), IPPROTO_UDP, udp_join, &on, sizeof on) != 0)
            return last_error();
        return {};
    });
}

// The kernel looks for the protocol before it looks at the socket, which is not connected here.
Answer try_kernel_tls() {
    return in_a_child([]() -> std::error_code {
        const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (!socket) return last_error();
        if (::setsockopt(socket.get(), IPPROTO_TCP, tcp_upper_protocol, "tls", 3) == 0) return {};
        return errno == ENOTCONN ? std::error_code() : last_error();
    });
}

Answer try_epoll_pwait2() {
    return in_a_child([]() -> std::error_code {
        UniqueFd epoll;
        UniqueFd source;
        if (auto error = make_epoll(epoll, source)) return error;
        epoll_event event{};
        __kernel_timespec limit{.tv_sec = 1, .tv_nsec = 0};
        const long count =
            ::syscall(epoll_pwait2_number, epoll.get(), &event, 1, &limit, nullptr, std::size_t{0});
        return count == 1 ? std::error_code() : last_error();
    });
}
