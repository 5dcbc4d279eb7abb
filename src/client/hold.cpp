#include "hold.hpp"

#include "descriptor_limit.hpp"
#include "memory_use.hpp"
#include "output.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

using namespace ringlet;

namespace {

// Descriptors that each process reserves for its loop and for inherited ones; the parent reserves as many.
constexpr std::uint64_t reserved_descriptors = 32;

// Opened and closed before the server's memory is measured: the first connections cost extra.
constexpr std::uint64_t warm_up_connections = 8;

// The server and the kernel free closed connections a little later.
constexpr std::chrono::milliseconds settle_time{300};

/// A reason to end the run.
struct Fatal {
    int status;
    std::string line;
};

/// The processes that hold the connections. They end when it is destroyed, and when this process ends.
class Crew {
public:
    Crew(Interruption& interruption, const HoldOptions& options)
        : interruption_(interruption), options_(options) {}
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;
    ~Crew();

    /// Starts as many as are needed to open `connections`, and waits until they are ready.
    std::optional<Fatal> start(std::uint64_t connections, std::uint64_t each_limit);
    /// Tells each to do its next step, and waits until all have done it.
    std::optional<Fatal> work();
    /// Waits for some time, in which none may end.
    std::optional<Fatal> pause(std::chrono::milliseconds time);

    [[nodiscard]] HoldCount total() const;
    [[nodiscard]] std::size_t size() const { return children_.size(); }

private:
    struct Child {
        pid_t pid;
        UniqueFd socket;
        HoldCount count = {};
    };
    std::optional<Fatal> start_one(Share share);
    std::optional<Fatal> wait_until_done();
    std::optional<Fatal> listen(Clock::time_point until, bool& told);
    std::optional<Fatal> listen_to(Child& child);
    void show_progress() const;

    Interruption& interruption_;
    const HoldOptions& options_;
    std::vector<Child> children_;
    HoldCount first_to_fail_;
};

Crew::~Crew() {
    for (const Child& child : children_) ::kill(child.pid, SIGKILL);
    for (const Child& child : children_) ::waitpid(child.pid, nullptr, 0);
    if (options_.progress) say("\r\x1b[K");
}

std::optional<Fatal> Crew::start(std::uint64_t connections, std::uint64_t each_limit) {
    const std::uint64_t processes = (connections + each_limit - 1) / each_limit;
    for (std::uint64_t i = 0; i < processes; ++i) {
        const std::uint64_t begin = connections * i / processes;
        auto fatal = start_one({begin, connections * (i + 1) / processes - begin});
        if (fatal) return fatal;
    }
    return wait_until_done();
}

std::optional<Fatal> Crew::start_one(Share share) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return Fatal{EX_OSERR, fmt::format("socketpair: {}", std::strerror(errno))};
    }
    UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
        const char* advice = errno == EAGAIN ? ": the limit of processes is reached (ulimit -u, "
                                               "TasksMax= of the unit, pids.max of the container)"
                                             : "";
        return Fatal{EX_OSERR,
                     fmt::format("cannot start process {} of those that hold connections: {}{}",
                                 children_.size() + 1, std::strerror(errno), advice)};
    }
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(EX_OK); // the parent has already ended
        children_.clear();
        ours.reset();
        hold_share(options_, share, std::move(theirs));
    }
    children_.push_back({pid, std::move(ours)});
    return std::nullopt;
}

std::optional<Fatal> Crew::work() {
    for (Child& child : children_) {
        child.count.done = false;
        // Processes that have ended are found below.
        static_cast<void>(::send(child.socket.get(), "", 1, MSG_NOSIGNAL));
    }
    return wait_until_done();
}

std::optional<Fatal> Crew::wait_until_done() {
    const auto is_done = [](const Child& child) { return child.count.done; };
    while (!std::all_of(children_.begin(), children_.end(), is_done)) {
        // They report all the time: if none does, they have been stopped.
        const auto until = Clock::now() + options_.timeout + std::chrono::seconds(10);
        bool told = false;
        auto fatal = listen(until, told);
        if (fatal) return fatal;
        if (!told) return Fatal{EX_SOFTWARE, "the processes that hold connections are silent"};
        if (options_.progress) show_progress();
    }
    return std::nullopt;
}

std::optional<Fatal> Crew::pause(std::chrono::milliseconds time) {
    const auto until = Clock::now() + time;
    std::optional<Fatal> fatal;
    for (bool told = true; told && !fatal;) fatal = listen(until, told);
    return fatal;
}

std::optional<Fatal> Crew::listen(Clock::time_point until, bool& told) {
    std::vector<pollfd> polled{{.fd = interruption_.fd(), .events = POLLIN, .revents = 0}};
    for (const Child& child : children_) {
        polled.push_back({.fd = child.socket.get(), .events = POLLIN, .revents = 0});
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    const int timeout_ms = static_cast<int>(std::max<std::int64_t>(left, 0));
    told = ::poll(polled.data(), polled.size(), timeout_ms) != 0;
    if (const int signal = interruption_.signal()) {
        return Fatal{
            interrupted_status(signal),
            fmt::format("interrupted by {} before anything was held", signal_name(signal))};
    }
    for (std::size_t i = 0; i < children_.size(); ++i) {
        if (polled[i + 1].revents == 0) continue;
        auto fatal = listen_to(children_[i]);
        if (fatal) return fatal;
    }
    return std::nullopt;
}

std::optional<Fatal> Crew::listen_to(Child& child) {
    HoldCount told;
    if (::recv(child.socket.get(), &told, sizeof told, MSG_WAITALL) != sizeof told) {
        return Fatal{EX_SOFTWARE,
                     fmt::format("process {}, which held connections, ended by itself", child.pid)};
    }
    child.count = told;
    if (told.exit_status != 0) return Fatal{told.exit_status, told.first_error.data()};
    const bool is_first = first_to_fail_.first_error[0] == '\0';
    if (is_first && told.first_error[0] != '\0') first_to_fail_ = told;
    return std::nullopt;
}

HoldCount Crew::total() const {
    HoldCount sum;
    for (const Child& child : children_) {
        sum.held += child.count.held;
        sum.failed += child.count.failed;
        sum.first_echo_errors += child.count.first_echo_errors;
        sum.last_echo_successes += child.count.last_echo_successes;
        sum.last_echo_errors += child.count.last_echo_errors;
    }
    sum.unserved = first_to_fail_.unserved;
    sum.first_errno = first_to_fail_.first_errno;
    sum.first_error = first_to_fail_.first_error;
    return sum;
}

void Crew::show_progress() const {
    const HoldCount now = total();
    say("\r\x1b[K{} of {} connections held, {} answered again, {} errors", now.held,
        options_.connections, now.last_echo_successes, now.failed + now.last_echo_errors);
}

std::string explain(const HoldOptions& options, const HoldCount& total) {
    const std::string_view what = total.first_error.data();
    if (what.empty() || total.failed == 0) return std::string(what);
    std::string line = fmt::format("connection {} of {} was not served: {}", total.held + 1,
                                   options.connections, what);
    if (total.unserved) line += ": has the server no descriptor left, or a limit of connections?";
    return line;
}

std::optional<double> share_of(std::optional<std::uint64_t> before,
                               std::optional<std::uint64_t> after, std::uint64_t connections) {
    if (!before || !after || connections == 0) return std::nullopt;
    return (static_cast<double>(*after) - static_cast<double>(*before)) /
           static_cast<double>(connections);
}

struct Memory {
    std::optional<std::uint64_t> server;
    std::optional<std::uint64_t> kernel;

    static Memory now(const HoldOptions& options) {
        Memory memory;
        if (options.server_pid != 0) memory.server = resident_bytes(options.server_pid);
        memory.kernel = kernel_object_bytes();
        return memory;
    }
};

std::optional<Fatal> hold(Interruption& interruption, const HoldOptions& options,
                          HoldResult& result) {
    const std::uint64_t limit = descriptor_limit().rlim_cur;
    const std::uint64_t each = limit > reserved_descriptors ? limit - reserved_descriptors : 0;
    if (options.connections > each * each) {
        return Fatal{EX_USAGE,
                     fmt::format("--hold {} needs more processes of {} descriptors than one "
                                 "can speak with: raise the limit with 'ulimit -n'",
                                 options.connections, limit)};
    }
    if (options.server_pid != 0 && !resident_bytes(options.server_pid)) {
        return Fatal{EX_USAGE, fmt::format("--server-pid {}: cannot read its memory: {}",
                                           options.server_pid, std::strerror(errno))};
    }
    {
        Crew warm_up(interruption, options);
        auto fatal = warm_up.start(std::min(options.connections, warm_up_connections), each);
        if (!fatal) fatal = warm_up.work();
        if (fatal) return fatal;
        const HoldCount total = warm_up.total();
        if (total.held == 0) {
            result.total = total;
            result.first_error = total.first_error.data();
            return std::nullopt;
        }
    }
    Crew crew(interruption, options);
    auto fatal = crew.start(options.connections, each);
    if (!fatal) fatal = crew.pause(settle_time);
    if (fatal) return fatal;
    result.processes = crew.size();
    const Memory before = Memory::now(options);

    const auto begin = Clock::now();
    fatal = crew.work();
    result.open_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    const bool all_opened = !fatal;
    if (!fatal) fatal = crew.pause(options.hold_time);
    const Memory held = all_opened ? Memory::now(options) : Memory();
    if (!fatal) fatal = crew.work();
    result.interrupted = fatal && interruption.signal() != 0;
    if (fatal && !result.interrupted) return fatal;
    result.total = crew.total();
    result.first_error = explain(options, result.total);
    const std::uint64_t connections = result.total.held;
    result.server_user_bytes_per_connection = share_of(before.server, held.server, connections);
    result.kernel_bytes_per_connection = share_of(before.kernel, held.kernel, connections);
    return std::nullopt;
}

} // namespace

HoldResult run_hold(const HoldOptions& options, Interruption& interruption) {
    HoldResult result;
    auto fatal = hold(interruption, options, result);
    if (fatal) {
        result.fatal = std::move(fatal->line);
        result.fatal_status = fatal->status;
    }
    return result;
}
