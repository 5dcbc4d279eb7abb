#include <ringlet/process.hpp>

#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>
#include <ringlet/reader.hpp>
#include <ringlet/readiness.hpp>
#include <ringlet/run_blocking.hpp>
#include <ringlet/task_group.hpp>

#include "process/spawn.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ringlet {

std::string ExitStatus::to_string() const {
    if (signal == 0) return "exit status " + std::to_string(code);
    return "killed by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
}

namespace {

ExitStatus status_of(const siginfo_t& known) noexcept {
    if (known.si_code == CLD_EXITED) return {.code = known.si_status, .signal = 0};
    return {.code = 0, .signal = known.si_status};
}

// Children that were killed but had not ended yet: reaped when the next child is started or dropped.
std::mutex orphans_mutex;
std::vector<pid_t>& orphans() {
    static std::vector<pid_t> pids;
    return pids;
}

void reap_orphans() noexcept {
    const std::lock_guard lock(orphans_mutex);
    std::erase_if(orphans(), [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
}

} // namespace

// ---- starting -----------------------------------------------------------------------------------

Task<Result<Process>> Process::start(ProcessOptions options) {
    reap_orphans();
    auto job = [&] { return spawn_child(options); };
    auto spawned = co_await run_blocking_to_end(job);
    if (!spawned) co_return spawned.error();
    auto child = std::make_shared<Child>();
    child->pid = spawned->pid;
    child->pidfd = std::move(spawned->pidfd);
    child->grace = options.grace;
    child->own_group = options.own_group;
    Process process(std::move(child));
    if (spawned->input) process.input = PipeWriter(std::move(spawned->input));
    if (spawned->output) process.output = PipeReader(std::move(spawned->output));
    if (spawned->error) process.error = PipeReader(std::move(spawned->error));
    co_return process;
}

Process::Process(std::shared_ptr<Child> child) noexcept : child_(std::move(child)) {}
Process::Process(Process&& other) noexcept = default;
Process& Process::operator=(Process&& other) noexcept {
    if (this == &other) return *this;
    let_go();
    input = std::move(other.input);
    output = std::move(other.output);
    error = std::move(other.error);
    child_ = std::move(other.child_);
    return *this;
}
Process::~Process() { let_go(); }

void Process::let_go() noexcept {
    if (!child_ || child_->ended) return;
    static_cast<void>(signal_to(*child_, SIGKILL));
    if (!reap(*child_)) {
        try {
            const std::lock_guard lock(orphans_mutex);
            orphans().push_back(child_->pid);
        } catch (const std::bad_alloc&) { // a zombie until this program ends
        }
    }
    reap_orphans();
}

// ---- ending -------------------------------------------------------------------------------------

Result<void> Process::signal(int number) {
    if (child_->ended) return std::errc::no_such_process;
    return signal_to(*child_, number);
}

// By the descriptor: the pid could belong to another process by now.
Result<void> Process::signal_to(const Child& child, int number) {
    const auto sent = child.own_group
                          ? ::kill(-child.pid, number)
                          : ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), number, nullptr, 0);
    if (sent != 0) return error_from_errno(errno);
    return {};
}

// Returns whether the child has ended; if so, records how.
bool Process::reap(Child& child) {
    if (child.ended) return true;
    siginfo_t known{};
    int answer = 0;
    do {
        // By the descriptor, as above (Linux 5.4; the C library's P_PIDFD).
        answer = ::waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &known, WEXITED | WNOHANG);
    } while (answer != 0 && errno == EINTR);
    if (answer != 0) {
        child.ended = Result<ExitStatus>(error_from_errno(errno));
    } else if (known.si_pid != 0) {
        child.ended = Result<ExitStatus>(status_of(known));
    }
    return child.ended.has_value();
}

Task<Result<ExitStatus>> Process::wait() { return wait_for(child_); }

Task<Result<ExitStatus>> Process::wait_for(std::shared_ptr<Child> shared) {
    Child& child = *shared;
    const auto end_of = [](Child* ending) -> Task<Result<void>> {
        while (!reap(*ending)) {
            auto ended = co_await readable(ending->pidfd.get());
            if (!ended) co_return ended;
        }
        co_return Result<void>();
    };
    auto ended = co_await end_of(&child);
    if (ended) co_return *child.ended;
    if (ended.error() != std::errc::operation_canceled) co_return ended.error();

    const auto make_it_end = [&child, &end_of]() -> Task<> {
        static_cast<void>(signal_to(child, SIGTERM));
        auto in_time = co_await with_timeout(child.grace, end_of(&child));
        if (in_time) co_return;
        static_cast<void>(signal_to(child, SIGKILL));
        auto killed = co_await end_of(&child);
        static_cast<void>(killed);
    };
    auto done = co_await shield(make_it_end);
    static_cast<void>(done);
    co_return std::errc::operation_canceled;
}

// ---- a whole run --------------------------------------------------------------------------------

Task<Result<ProcessOutput>> run_process(ProcessOptions options, std::string input,
                                        std::size_t limit_bytes) {
    if (options.input == Stdio::inherit || !input.empty()) options.input = Stdio::pipe;
    if (options.output == Stdio::inherit) options.output = Stdio::pipe;
    if (options.error == Stdio::inherit) options.error = Stdio::pipe;
    auto process = co_await Process::start(std::move(options));
    if (!process) co_return process.error();

    ProcessOutput result;
    auto write = [&]() -> Task<> {
        auto sent = co_await process->input.send_all(input);
        static_cast<void>(sent); // a child need not read
        auto closed = co_await process->input.close();
        static_cast<void>(closed);
    };
    auto read = [limit_bytes](PipeReader* from, std::string* into) -> Task<Result<void>> {
        Reader reader(*from);
        auto text = co_await reader.read_to_end(limit_bytes);
        if (!text) co_return text.error();
        *into = std::move(*text);
        co_return Result<void>();
    };
    auto body = [&](TaskGroup& group) -> Task<Result<void>> {
        if (process->input) group.spawn("input", write);
        if (process->output) group.spawn("output", read, &process->output, &result.output);
        if (process->error) group.spawn("error", read, &process->error, &result.error);
        auto status = co_await process->wait();
        if (!status) co_return status.error();
        result.status = *status;
        co_return Result<void>();
    };
    auto done = co_await with_task_group(body, GroupOptions{.name = "process"});
    if (done) co_return result;
    if (done.error() == std::errc::operation_canceled) { // perhaps before the body began
        auto ended = co_await process->wait();
        static_cast<void>(ended);
    }
    co_return done.error();
}

} // namespace ringlet
