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

/// What a child has as its standard input, output or error.
enum class Stdio : unsigned char {
    inherit, ///< that of this program
    null,    ///< /dev/null
    pipe,    ///< a pipe, whose other end the `Process` has
    output   ///< for the error: the same as the output
};

/// How a child process is started.
struct ProcessOptions {
    /// The program, looked up in PATH, and its arguments: `{"sort", "-n"}`.
    std::vector<std::string> command;
    /// `NAME=VALUE` each; none: this program's own.
    std::optional<std::vector<std::string>> environment = {};
    /// Where it runs; empty: where this program does.
    std::string directory = {};
    Stdio input = Stdio::null;
    Stdio output = Stdio::inherit;
    Stdio error = Stdio::inherit;
    /// After a SIGTERM, how long the child may take before SIGKILL.
    std::chrono::milliseconds grace{5'000};
    /// It leads a group of its own, so that `Process::signal` and the end reach its children, too.
    bool own_group = false;
};

/// How a child ended.
struct ExitStatus {
    int code = 0;   ///< with which it exited, if no signal ended it
    int signal = 0; ///< that ended it; 0: none

    [[nodiscard]] bool success() const noexcept { return code == 0 && signal == 0; }
    /// `exit status 3`, `killed by signal 9 (Killed)`.
    [[nodiscard]] std::string to_string() const;
    friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// A child process. It has no descriptor of this program but the three, no blocked signal, and every signal does in it
/// what it does by default.
///
///     auto sort = co_await Process::start({.command = {"sort"}, .input = Stdio::pipe, .output = Stdio::pipe});
///
/// (That is one statement too many for g++ 12: give the options a name, as in docs/guides/processes.md.)
///
/// Lifetime  Owns the child: one that has not been waited for is killed when this goes, and leaves no zombie.
/// Thread    The loop's own on which it was started.
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

    /// The other ends of its pipes; empty for what is no pipe. Close the input when everything was written, and read the
    /// output to its end: a child whose pipe is full waits.
    PipeWriter input;
    PipeReader output;
    PipeReader error;

    /// Waits for its end.
    ///
    /// Suspends  Until it has ended.
    /// Cancel    The child gets SIGTERM, and after `ProcessOptions::grace` SIGKILL; when it has ended: `operation_canceled`.
    /// Returns   `Result<ExitStatus>`; afterwards always the same.
    /// Errors    `no_child_process` if somebody else has waited for it, or SIGCHLD is ignored.
    [[nodiscard]] Task<Result<ExitStatus>> wait();

    /// Sends it a signal.
    ///
    /// Errors    `no_such_process` when it has ended.
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

    std::shared_ptr<Child> child_; // shared with who waits for it
};

/// What a child wrote, and how it ended.
struct ProcessOutput {
    ExitStatus status;
    std::string output;
    std::string error;
};

/// Runs a child to its end: gives it an input, and collects what it writes. `input`, `output` and `error` of the
/// options are pipes unless they say something else than `inherit`.
///
///     auto sorted = co_await run_process(options, "b\na\n");
///
/// Cancel    As `Process::wait`.
/// Returns   `Result<ProcessOutput>`, whatever its status.
/// Errors    As `Process::start`; `message_too_long` for more than `limit_bytes` of output: the child is ended.
[[nodiscard]] Task<Result<ProcessOutput>>
run_process(ProcessOptions options, std::string input = {}, std::size_t limit_bytes = 64 << 20);

} // namespace ringlet
