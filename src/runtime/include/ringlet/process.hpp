#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/pipe.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/unique_fd.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace RINGLET_EXPORT ringlet {

/// What a child gets as its standard input, output or error.
enum class Stdio : unsigned char {
    inherit, ///< that of this program
    null,    ///< /dev/null
    pipe,    ///< a pipe, whose other end belongs to the `Process`
    output   ///< for the error: the same as the output
};

/// How a child process is started.
struct ProcessOptions {
    /// The program, looked up in PATH, and its arguments: `{"sort", "-n"}`.
    std::vector<std::string> command;
    /// The environment, as `NAME=VALUE` each; none: this program's own.
    std::optional<std::vector<std::string>> environment = {};
    /// The working directory; empty: this program's.
    std::string directory = {};
    Stdio input = Stdio::null;
    Stdio output = Stdio::inherit;
    Stdio error = Stdio::inherit;
    /// How long the child may take to exit after SIGTERM before it gets SIGKILL.
    std::chrono::milliseconds grace{5'000};
    /// Makes the child a group leader, so that `Process::signal` and termination reach its children, too.
    bool own_group = false;
};

/// How a child ended.
struct ExitStatus {
    int code = 0;   ///< the exit code, if no signal ended it
    int signal = 0; ///< the signal that ended it; 0: none

    [[nodiscard]] bool success() const noexcept { return code == 0 && signal == 0; }
    /// `exit status 3`, `killed by signal 9 (Killed)`.
    [[nodiscard]] std::string to_string() const;
    friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// A child process. It inherits no descriptor of this program except the three standard ones, no blocked signals, and
/// only default signal actions.
///
///     auto sort = co_await Process::start({.command = {"sort"}, .input = Stdio::pipe, .output = Stdio::pipe});
///
/// (g++ 12 rejects or miscompiles this as one statement: give the options a name, see docs/guides/pitfalls.md.)
///
/// Lifetime  Owns the child: if it has not been waited for, it is killed with this object, and leaves no zombie.
/// Thread    The thread of the loop on which it was started.
class Process {
public:
    /// Starts a child (posix_spawn(3), on another thread).
    ///
    /// Cancel    As `run_blocking_to_end`.
    /// Errors    `no_such_file_or_directory`, `permission_denied`, `argument_list_too_long`, `too_many_files_open`,
    ///           `resource_unavailable_try_again` (too many processes).
    [[nodiscard]] static Task<Result<Process>> start(ProcessOptions options);

    Process(Process&& other) noexcept;
    Process& operator=(Process&& other) noexcept;
    ~Process();

    [[nodiscard]] pid_t pid() const noexcept { return child_->pid; }

    /// The other ends of its pipes; empty for anything that is not a pipe. Close the input when everything has been
    /// written, and read the output to its end: a child whose pipe is full blocks.
    PipeWriter input;
    PipeReader output;
    PipeReader error;

    /// Waits for the child to end.
    ///
    /// Suspends  Until it has ended.
    /// Cancel    The child gets SIGTERM, then SIGKILL after `ProcessOptions::grace`. Once it has ended:
    ///           `operation_canceled`.
    /// Returns   `Result<ExitStatus>`; the same on every later call.
    /// Errors    `no_child_process` if other code has waited for the child, or SIGCHLD is ignored.
    [[nodiscard]] Task<Result<ExitStatus>> wait();

    /// Sends it a signal.
    ///
    /// Errors    `no_such_process` if the child has ended.
    Result<void> signal(int number);

private:
    struct Child {
        pid_t pid = 0;
        UniqueFd pidfd;
        std::chrono::milliseconds grace{};
        bool own_group = false;
        std::optional<Result<ExitStatus>> ended;
    };
    explicit Process(std::shared_ptr<Child> child) noexcept;
    static Task<Result<ExitStatus>> wait_for(std::shared_ptr<Child> child);
    static Result<void> signal_to(const Child& child, int number);
    static bool reap(Child& child);
    void let_go() noexcept;

    std::shared_ptr<Child> child_; // shared with the task that waits for it
};

/// What a child wrote, and how it ended.
struct ProcessOutput {
    ExitStatus status;
    std::string output;
    std::string error;
};

/// Runs a child to completion: feeds it the input and collects its output. `input`, `output` and `error` of the
/// options are pipes where they are left at `inherit`.
///
///     auto sorted = co_await run_process(options, "b\na\n");
///
/// Cancel    As `Process::wait`.
/// Returns   `Result<ProcessOutput>`, whatever its exit status.
/// Errors    As `Process::start`; `message_too_long` for more than `limit_bytes` of output: the child is then
///           terminated.
[[nodiscard]] Task<Result<ProcessOutput>>
run_process(ProcessOptions options, std::string input = {}, std::size_t limit_bytes = 64 << 20);

} // namespace ringlet
