// deny ANSWER SYSCALL[,SYSCALL...] -- PROGRAM [ARGUMENT...]
//
// Runs a program under a seccomp filter, like a container: the named system calls fail with ANSWER, an
// errno by name, or with KILL, which ends the calling process. All others work.
//
// Exit status 64 for wrong usage, 71 if no filter can be installed, 127 if the program cannot be
// started; otherwise that of the program.

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

namespace {

#if defined(__x86_64__)
constexpr unsigned own_architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned own_architecture = AUDIT_ARCH_AARCH64;
#else
#error "name the AUDIT_ARCH_ of this architecture"
#endif

constexpr std::pair<std::string_view, unsigned> answers[] = {
    {"KILL", SECCOMP_RET_KILL_PROCESS},     {"EPERM", SECCOMP_RET_ERRNO | EPERM},
    {"ENOSYS", SECCOMP_RET_ERRNO | ENOSYS}, {"EOPNOTSUPP", SECCOMP_RET_ERRNO | EOPNOTSUPP},
    {"ENOMEM", SECCOMP_RET_ERRNO | ENOMEM}, {"EINVAL", SECCOMP_RET_ERRNO | EINVAL},
    {"EIO", SECCOMP_RET_ERRNO | EIO},       {"ECONNABORTED", SECCOMP_RET_ERRNO | ECONNABORTED},
};

constexpr std::pair<std::string_view, long> system_calls[] = {
    {"io_uring_setup", SYS_io_uring_setup},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"accept4", SYS_accept4},
    {"epoll_create1", SYS_epoll_create1},
    {"epoll_pwait", SYS_epoll_pwait},
#ifdef SYS_epoll_wait
    {"epoll_wait", SYS_epoll_wait},
#endif
    {"sched_setaffinity", SYS_sched_setaffinity},
    {"prlimit64", SYS_prlimit64},
    {"epoll_pwait2", 441}, // Linux 5.11; missing in older headers
    {"pidfd_open", 434},   // Linux 5.3
};

template <class Table>
auto find(const Table& table, std::string_view wanted) {
    for (const auto& [name, value] : table) {
        if (name == wanted) return std::optional(value);
    }
    std::fprintf(stderr, "deny: unknown: '%.*s'\n", static_cast<int>(wanted.size()), wanted.data());
    std::exit(EX_USAGE);
}

sock_filter load(std::size_t offset) {
    return {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<unsigned>(offset)};
}
sock_filter skip_one_unless(unsigned value) { return {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value}; }
sock_filter skip_one_if(unsigned value) { return {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, value}; }
sock_filter answer_with(unsigned value) { return {BPF_RET | BPF_K, 0, 0, value}; }

// A process can also make calls of another architecture, whose numbers mean something else: such
// calls end it.
std::vector<sock_filter> filter_of(unsigned answer, std::string_view names) {
    std::vector<sock_filter> filter = {
        load(offsetof(seccomp_data, arch)), skip_one_if(own_architecture),
        answer_with(SECCOMP_RET_KILL_PROCESS), load(offsetof(seccomp_data, nr))};
    while (!names.empty()) {
        const auto end = std::min(names.find(','), names.size());
        filter.push_back(
            skip_one_unless(static_cast<unsigned>(*find(system_calls, names.substr(0, end)))));
        filter.push_back(answer_with(answer));
        names.remove_prefix(std::min(end + 1, names.size()));
    }
    filter.push_back(answer_with(SECCOMP_RET_ALLOW));
    return filter;
}

bool install(std::vector<sock_filter>& filter) {
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 5 || std::string_view(argv[3]) != "--") {
        std::fprintf(stderr, "usage: deny ANSWER SYSCALL[,SYSCALL...] -- PROGRAM [ARGUMENT...]\n");
        return EX_USAGE;
    }
    auto filter = filter_of(*find(answers, argv[1]), argv[2]);
    if (!install(filter)) {
        std::fprintf(stderr, "deny: no filter can be installed: %s\n", std::strerror(errno));
        return EX_OSERR;
    }
    ::execvp(argv[4], argv + 4);
    std::fprintf(stderr, "deny: %s: %s\n", argv[4], std::strerror(errno));
    return 127;
}
