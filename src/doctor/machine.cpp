#include "machine.hpp"

#include "descriptor_limit.hpp"

#include <ringlet/error.hpp>
#include <ringlet/tcp_listener.hpp>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/utsname.h>

using ringlet::Errc;

namespace {

// A server that cannot have this many connections gets advice. Each takes a descriptor, and at the
// client a local port.
constexpr std::uint64_t wanted_connections = 10'000;

// One of ringlet's rings takes about 200 KiB (1024 submissions of 64 bytes, 8192 completions of 16),
// and a loop has one. All processes of a user count together.
constexpr std::uint64_t wanted_locked_bytes = 1 << 20;

// ---- reading --------------------------------------------------------------------------------------

template <class... Values>
bool read(const char* path, Values&... values) {
    std::ifstream file(path);
    return static_cast<bool>((file >> ... >> values));
}

// The number after `NAME:` in /proc/self/status.
std::optional<int> own_status(const std::string& name) {
    std::ifstream file("/proc/self/status");
    for (std::string word; file >> word;) {
        int value = 0;
        if (word == name + ":" && file >> value) return value;
    }
    return std::nullopt;
}

bool has_capability(unsigned number) {
    std::ifstream file("/proc/self/status");
    for (std::string word; file >> word;) {
        std::uint64_t effective = 0;
        if (word == "CapEff:" && file >> std::hex >> effective)
            return (effective >> number & 1) != 0;
    }
    return false;
}

// With a comma between thousands. A number beyond any use means no limit.
std::string count(std::uint64_t number) {
    if (number >= std::uint64_t{1} << 60) return "without limit";
    const std::string digits = std::to_string(number);
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
        text += digits[i];
    }
    return text;
}

// RLIM_INFINITY is null in JSON.
nlohmann::ordered_json json_limit(rlim_t limit) {
    return limit == RLIM_INFINITY ? nlohmann::ordered_json() : nlohmann::ordered_json(limit);
}

utsname this_system() {
    utsname system{};
    ::uname(&system);
    return system;
}

std::pair<int, int> kernel_version(const utsname& system) {
    std::pair<int, int> version;
    std::sscanf(system.release, "%d.%d", &version.first, &version.second);
    return version;
}

// ---- machine --------------------------------------------------------------------------------------

Finding kernel(const RingAnswers& ring, bool best_ring) {
    const utsname system = this_system();
    Finding finding{.group = "machine", .name = "kernel"};
    const auto version = kernel_version(system);
    finding.value = fmt::format("{} {}, {}", system.sysname, system.release, system.machine);
    finding.data = {{"release", system.release}, {"machine", system.machine}};
    if (version < std::pair(5, 11) && !ring.works()) {
        finding.verdict = Verdict::no;
        finding.advice = "io_uring needs Linux 5.11 or newer; 6.1 or newer is best";
    } else if (version < std::pair(6, 1) && !best_ring) {
        finding.verdict = Verdict::low;
        finding.advice = "Linux 6.1 or newer is best: it works completions out when the loop asks "
                         "for them, instead of interrupting it";
    }
    return finding;
}

Finding io_uring_disabled(const RingAnswers& ring) {
    Finding finding{.group = "machine", .name = "io_uring_disabled"};
    int disabled = 0;
    if (!read("/proc/sys/kernel/io_uring_disabled", disabled)) {
        finding.value = "this kernel has no such switch (Linux 6.6)";
        return finding;
    }
    int group = -1;
    read("/proc/sys/kernel/io_uring_group", group);
    finding.data = {{"kernel.io_uring_disabled", disabled}, {"kernel.io_uring_group", group}};
    if (disabled == 0) {
        finding.value = "0: everybody may use io_uring";
        return finding;
    }
    finding.value = disabled == 1 ? "1: only root may use io_uring" : "2: nobody may use io_uring";
    if (disabled == 1 && group >= 0) finding.value += fmt::format(", and the group {}", group);
    if (disabled == 1 && ring.works()) return finding; // and this process is one of them
    finding.verdict = Verdict::no;
    finding.advice = "as root, on the host if this is a container: sysctl -w "
                     "kernel.io_uring_disabled=0; to keep "
                     "it: echo kernel.io_uring_disabled=0 > /etc/sysctl.d/90-io_uring.conf";
    if (disabled == 1) {
        finding.advice += "; for one group only: sysctl -w kernel.io_uring_group=GID";
    }
    return finding;
}

Finding seccomp(const RingAnswers& ring) {
    Finding finding{.group = "machine", .name = "seccomp"};
    const int mode = own_status("Seccomp").value_or(0);
    const int filters = own_status("Seccomp_filters").value_or(mode == 2 ? 1 : 0);
    finding.data = {{"mode", mode}, {"filters", filters}};
    if (mode == 0) {
        finding.value = "no filter";
        return finding;
    }
    finding.value = fmt::format("{} active", filters == 1 ? "a filter is" : "filters are");
    if (ring.works()) return finding;
    const bool others_fault = ring.refusal_is(Errc::io_uring_disabled) ||
                              ring.refusal_is(Errc::io_uring_too_old) ||
                              ring.refusal_is(Errc::io_uring_locked_memory);
    if (others_fault) return finding;
    finding.verdict = Verdict::low;
    finding.value += ring.refusal().killed_by == SIGSYS
                         ? ", and kills any process that asks for io_uring"
                         : ", and may be what refuses io_uring";
    finding.advice = fmt::format(
        "to find out, start once without it: docker run --security-opt seccomp=unconfined ... "
        "(Podman: the same option; Kubernetes: seccompProfile: {{type: Unconfined}}; systemd: "
        "a unit without SystemCallFilter=). If that helps, allow {} in a profile of your own",
        io_uring_calls);
    return finding;
}

// ---- limits ---------------------------------------------------------------------------------------

Finding descriptors() {
    Finding finding{.group = "limits", .name = "descriptors"};
    const rlimit limit = descriptor_limit();
    finding.data = {{"soft", json_limit(limit.rlim_cur)}, {"hard", json_limit(limit.rlim_max)}};
    finding.value = count(limit.rlim_cur) + " for this process";
    if (limit.rlim_max > limit.rlim_cur) {
        finding.value += fmt::format(", can raise itself to {}", count(limit.rlim_max));
    }
    if (limit.rlim_cur >= wanted_connections) return finding;
    finding.verdict = Verdict::low;
    finding.advice =
        limit.rlim_max >= wanted_connections
            ? fmt::format("a connection takes one: 'ulimit -n {}' in the shell that starts the "
                          "server; echo_coro does so by itself",
                          wanted_connections)
            : fmt::format(
                  "a connection takes one: as root 'ulimit -n {0}' in the shell that starts "
                  "the server, LimitNOFILE={0} in a systemd unit, or --ulimit "
                  "nofile={0}:{0} in Docker",
                  wanted_connections);
    return finding;
}

Finding open_files() {
    Finding finding{.group = "limits", .name = "open_files"};
    std::uint64_t machine = 0;
    std::uint64_t process = 0;
    if (!read("/proc/sys/fs/file-max", machine) || !read("/proc/sys/fs/nr_open", process)) {
        finding.value = "not told here";
        return finding;
    }
    finding.value = fmt::format("machine {}, a process at most {}", count(machine), count(process));
    finding.data = {{"fs.file-max", machine}, {"fs.nr_open", process}};
    if (machine >= wanted_connections && process >= wanted_connections) return finding;
    finding.verdict = Verdict::low;
    finding.advice = "as root: sysctl -w fs.file-max=1000000 fs.nr_open=1048576";
    return finding;
}

// A ring is locked memory before Linux 5.12, and again since the queues are regions (6.14; seen on
// 6.18), unless the process may lock as much as it likes.
bool rings_are_locked_memory(std::pair<int, int> version) {
    const bool between = version >= std::pair(5, 12) && version < std::pair(6, 14);
    return !between && !has_capability(CAP_IPC_LOCK);
}

Finding locked_memory(const RingAnswers& ring) {
    Finding finding{.group = "limits", .name = "locked_memory"};
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    finding.data = {{"soft_bytes", json_limit(limit.rlim_cur)},
                    {"hard_bytes", json_limit(limit.rlim_max)}};
    finding.value = limit.rlim_cur == RLIM_INFINITY
                        ? "without limit"
                        : fmt::format("{} KiB", count(limit.rlim_cur / 1024));
    const bool rings_count = rings_are_locked_memory(kernel_version(this_system()));
    const bool refused = ring.refusal_is(Errc::io_uring_locked_memory);
    if (!rings_count && !refused) {
        finding.value += has_capability(CAP_IPC_LOCK)
                             ? ", which does not bind this process (CAP_IPC_LOCK)"
                             : ", of which rings need none (Linux 5.12 to 6.13)";
    }
    if (!refused && !(rings_count && limit.rlim_cur < wanted_locked_bytes)) return finding;
    finding.verdict = Verdict::low;
    finding.advice = "'ulimit -l unlimited' in the shell that starts the server, "
                     "LimitMEMLOCK=infinity in a systemd unit, or --ulimit memlock=-1 in Docker";
    if (refused) finding.advice += "; if that changes nothing, the machine has no memory left";
    return finding;
}

Finding somaxconn() {
    Finding finding{.group = "limits", .name = "somaxconn"};
    const int wanted = ringlet::ListenOptions{}.backlog;
    int value = 0;
    if (!read("/proc/sys/net/core/somaxconn", value)) {
        finding.value = "not told here";
        return finding;
    }
    finding.value =
        fmt::format("{} clients may wait to be accepted", count(static_cast<std::uint64_t>(value)));
    finding.data = {{"net.core.somaxconn", value}};
    if (value >= wanted) return finding;
    finding.verdict = Verdict::low;
    finding.advice = fmt::format("a burst of clients is refused or delayed: as root 'sysctl -w "
                                 "net.core.somaxconn={0}', or --sysctl net.core.somaxconn={0} in "
                                 "Docker",
                                 wanted);
    return finding;
}

Finding local_ports() {
    Finding finding{.group = "limits", .name = "local_ports"};
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    if (!read("/proc/sys/net/ipv4/ip_local_port_range", first, last) || last < first) {
        finding.value = "not told here";
        return finding;
    }
    const std::uint64_t ports = last - first + 1;
    finding.value =
        fmt::format("{} ({} to {}) for connections to one address", count(ports), first, last);
    finding.data = {{"first", first}, {"last", last}, {"count", ports}};
    if (ports >= wanted_connections) return finding;
    finding.verdict = Verdict::low;
    finding.advice = "a load client needs one for each connection: as root 'sysctl -w "
                     "net.ipv4.ip_local_port_range=\"10000 65000\"', or --sysctl with the same in "
                     "Docker";
    return finding;
}

} // namespace

std::vector<Finding> machine_findings(const RingAnswers& ring, bool best_ring) {
    return {kernel(ring, best_ring), io_uring_disabled(ring), seccomp(ring)};
}

std::vector<Finding> limit_findings(const RingAnswers& ring) {
    return {descriptors(), open_files(), locked_memory(ring), somaxconn(), local_ports()};
}
