#include "base/kernel.hpp"

#include <ringlet/error.hpp>
#include <ringlet/error_output.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <iterator>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ringlet {

namespace {

class RealKernel final : public Kernel {
public:
    Result<UniqueFd> open_socket(int family, int type) override {
        UniqueFd fd(::socket(family, type | SOCK_CLOEXEC, 0));
        if (!fd) return error_from_errno(errno);
        return fd;
    }

    Result<std::pair<UniqueFd, UniqueFd>> open_pair() override {
        int fds[2] = {-1, -1};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
            return error_from_errno(errno);
        UniqueFd first(fds[0]);
        UniqueFd second(fds[1]);
        return std::pair(std::move(first), std::move(second));
    }

    Result<std::pair<UniqueFd, UniqueFd>> open_pipe() override {
        int fds[2] = {-1, -1};
        if (::pipe2(fds, O_CLOEXEC) != 0) return error_from_errno(errno);
        UniqueFd read_end(fds[0]);
        UniqueFd write_end(fds[1]);
        return std::pair(std::move(read_end), std::move(write_end));
    }

    Result<void> set_option(int fd, int level, int name, int value) override {
        return answer_of(::setsockopt(fd, level, name, &value, sizeof value));
    }

    Result<int> option(int fd, int level, int name) override {
        int value = 0;
        socklen_t size = sizeof value;
        if (::getsockopt(fd, level, name, &value, &size) != 0) return error_from_errno(errno);
        return value;
    }

    Result<void> change_group(int fd, int what, const group_req& group) override {
        const int level = group.gr_group.ss_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
        return answer_of(::setsockopt(fd, level, what, &group, sizeof group));
    }

    void make_blocking(int fd) override {
        const int flags = ::fcntl(fd, F_GETFL);
        if (flags >= 0 && (flags & O_NONBLOCK) != 0) ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    }

    Result<void> reset_on_close(int fd) override {
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        return answer_of(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    }

    Result<bool> is_idle(int fd) override {
        char byte = 0;
        if (::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) return false;
        if (errno != EAGAIN && errno != EWOULDBLOCK) return error_from_errno(errno);
        return true;
    }

    Result<void> bind(int fd, const Endpoint& endpoint) override {
        return answer_of(::bind(fd, endpoint.data(), endpoint.size_bytes()));
    }

    Result<void> listen(int fd, int backlog) override { return answer_of(::listen(fd, backlog)); }

    Result<std::size_t> accept_waiting(int listener, std::span<UniqueFd> taken) override {
        pollfd waits{.fd = listener, .events = POLLIN, .revents = 0};
        if (taken.empty() || ::poll(&waits, 1, 0) == 0) return std::size_t{0};
        // Another process with the same listener may be faster: accept4 would then wait.
        const int flags = ::fcntl(listener, F_GETFL);
        const bool is_blocking = flags >= 0 && (flags & O_NONBLOCK) == 0;
        if (is_blocking) ::fcntl(listener, F_SETFL, flags | O_NONBLOCK);
        std::size_t count = 0;
        int error = 0;
        // Clients that have gone are skipped, up to a limit: the error may persist.
        for (std::size_t left = 2 * taken.size(); left > 0 && count < taken.size(); --left) {
            UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
            if (!fd) error = errno;
            if (!fd && error != EINTR && error != ECONNABORTED) break;
            if (fd) taken[count++] = std::move(fd);
        }
        if (is_blocking) ::fcntl(listener, F_SETFL, flags);
        if (count == 0 && error != 0 && error != EAGAIN) return error_from_errno(error);
        return count;
    }

    void refuse_new_clients(int listener) noexcept override {
        // The data that a TCP socket's filter sees begins with the header: byte 13 has the flags, 2 is SYN.
        std::array<sock_filter, 4> drop_syn{
            {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 2, 0, 1),
             BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, ~0U)}};
        const sock_fprog filter{.len = drop_syn.size(), .filter = drop_syn.data()};
        int domain = 0;
        socklen_t size = sizeof domain;
        ::getsockopt(listener, SOL_SOCKET, SO_DOMAIN, &domain, &size);
        if (domain == AF_INET || domain == AF_INET6)
            ::setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
    }

    Result<void> shutdown_write(int fd) override { return answer_of(::shutdown(fd, SHUT_WR)); }

    Result<void> choose_peer(int fd, const Endpoint& peer) override {
        return answer_of(::connect(fd, peer.data(), peer.size_bytes()));
    }

    Result<std::size_t> take_message(int fd, msghdr& message) override {
        ssize_t count = -1;
        do {
            count = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        } while (count < 0 && errno == EINTR);
        if (count < 0) return error_from_errno(errno);
        return static_cast<std::size_t>(count);
    }

    Result<Endpoint> local(int fd) override { return name_by(::getsockname, fd); }
    Result<Endpoint> peer(int fd) override { return name_by(::getpeername, fd); }

    Result<ucred> peer_credentials(int fd) override {
        ucred who{};
        socklen_t size = sizeof who;
        if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
            return error_from_errno(errno);
        return who;
    }

    Result<std::size_t> send_now(int fd, std::span<const std::byte> bytes) override {
        for (;;) {
            const ssize_t sent =
                ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent >= 0) return static_cast<std::size_t>(sent);
            if (errno == EAGAIN) return std::size_t{0};
            if (errno != EINTR) return error_from_errno(errno);
        }
    }

    // No retry on EINTR: on Linux the descriptor is free after close(2), whatever it returns.
    void close(int fd) noexcept override { ::close(fd); }

    Result<std::vector<Endpoint>> resolve(std::string_view host_and_port) override {
        return Endpoint::resolve_all(host_and_port);
    }

    Clock::time_point now() noexcept override { return std::chrono::steady_clock::now(); }

    bool has_more_threads(std::size_t than) noexcept override {
        struct stat threads{};
        if (::stat("/proc/self/task", &threads) != 0) return true;
        // A folder has two links (its name and its own `.`), and one more for each folder inside: each thread is one.
        if (threads.st_nlink - 2 <= than) return false;
        DIR* folder = ::opendir("/proc/self/task");
        if (folder == nullptr) return true;
        std::size_t count = 0;
        while (const dirent* entry = count > than ? nullptr : ::readdir(folder)) {
            if (entry->d_name[0] != '.' && !is_kernel_worker(::dirfd(folder), entry->d_name))
                ++count;
        }
        ::closedir(folder);
        return count > than;
    }

    bool has_signal_handlers() noexcept override {
        constexpr int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
        sigset_t blocked;
        sigemptyset(&blocked);
        ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
        for (int number = 1; number <= SIGRTMAX; ++number) {
            struct sigaction action{};
            const bool is_fault =
                std::find(std::begin(faults), std::end(faults), number) != std::end(faults);
            if (is_fault || sigismember(&blocked, number) == 1 ||
                ::sigaction(number, nullptr, &action) != 0)
                continue;
            // sa_handler and sa_sigaction share their place.
            if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) return true;
        }
        return false;
    }

    void report(std::string_view line) noexcept override {
        try {
            write_error(std::string("ringlet: ").append(line).append("\n"));
        } catch (const std::bad_alloc&) {
            write_error(line);
        }
    }

    std::string_view situation() const noexcept override { return ""; }

    bool make_ring(const RingOptions&, std::unique_ptr<Ring>&) override { return false; }

private:
    // io_uring has threads in this process for files; they linger for a while, and only do what they were asked.
    static bool is_kernel_worker(int tasks, const char* thread) noexcept {
        const std::string path = std::string(thread) + "/comm"; // short: it takes no memory
        const UniqueFd comm(::openat(tasks, path.c_str(), O_RDONLY | O_CLOEXEC));
        std::array<char, 4> name{};
        return comm && ::read(comm.get(), name.data(), name.size()) == 4 &&
               std::string_view(name.data(), name.size()) == "iou-";
    }

    static Result<void> answer_of(int returned) {
        if (returned != 0) return error_from_errno(errno);
        return {};
    }

    template <class Call>
    static Result<Endpoint> name_by(Call call, int fd) {
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        if (call(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
            return error_from_errno(errno);
        }
        return Endpoint::from_sockaddr(address, size);
    }
};

// Static objects may close descriptors after everything else has been destroyed.
static_assert(std::is_trivially_destructible_v<RealKernel>);
constinit RealKernel real_kernel;
constinit thread_local Kernel* kernel_of_this_thread = &real_kernel;

} // namespace

Kernel& Kernel::of_this_thread() noexcept { return *kernel_of_this_thread; }

void Kernel::stand_in(Kernel* kernel) noexcept {
    kernel_of_this_thread = kernel != nullptr ? kernel : &real_kernel;
}

void report_line(const std::function<void(std::string_view)>& hook,
                 std::string_view line) noexcept {
    Kernel& kernel = Kernel::of_this_thread();
    if (!hook) return kernel.report(line);
    try {
        hook(line);
    } catch (...) {
        kernel.report("LoopOptions::report threw; the line was:");
        kernel.report(line);
    }
}

} // namespace ringlet
