#include "process/spawn.hpp"

#include <ringlet/error.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ringlet {

namespace {

// For the functions of posix_spawn(3), which return an errno.
Result<void> answer_of(int number) {
    if (number != 0) return error_from_errno(number);
    return {};
}

class FileActions {
public:
    FileActions() { ::posix_spawn_file_actions_init(&actions_); }
    FileActions(const FileActions&) = delete;
    FileActions& operator=(const FileActions&) = delete;
    ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
    [[nodiscard]] posix_spawn_file_actions_t* get() noexcept { return &actions_; }

private:
    posix_spawn_file_actions_t actions_{};
};

class Attributes {
public:
    Attributes() { ::posix_spawnattr_init(&attributes_); }
    Attributes(const Attributes&) = delete;
    Attributes& operator=(const Attributes&) = delete;
    ~Attributes() { ::posix_spawnattr_destroy(&attributes_); }
    [[nodiscard]] posix_spawnattr_t* get() noexcept { return &attributes_; }

private:
    posix_spawnattr_t attributes_{};
};

// Moves it above the three standard ones: if this program was started without them, the child would overwrite it.
Result<UniqueFd> above_the_standard_ones(int fd) {
    UniqueFd taken(fd);
    if (fd > STDERR_FILENO) return taken;
    UniqueFd above(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!above) return error_from_errno(errno);
    return above;
}

struct PipeEnds {
    UniqueFd read_end;
    UniqueFd write_end;
};

Result<PipeEnds> open_pipe() {
    int fds[2] = {-1, -1};
    if (::pipe2(fds, O_CLOEXEC) != 0) return error_from_errno(errno);
    UniqueFd other(fds[1]);
    auto read_end = above_the_standard_ones(fds[0]);
    if (!read_end) return read_end.error();
    auto write_end = above_the_standard_ones(other.release());
    if (!write_end) return write_end.error();
    return PipeEnds{.read_end = std::move(*read_end), .write_end = std::move(*write_end)};
}

// Gives the child one of its three descriptors. Returns this program's end, if it is a pipe.
Result<UniqueFd> give(FileActions& actions, int number, Stdio what, std::vector<UniqueFd>& childs) {
    if (what == Stdio::null) {
        const int flags = number == STDIN_FILENO ? O_RDONLY : O_WRONLY;
        auto added = answer_of(
            ::posix_spawn_file_actions_addopen(actions.get(), number, "/dev/null", flags, 0));
        if (!added) return added.error();
        return UniqueFd();
    }
    if (what == Stdio::output) {
        auto added =
            answer_of(::posix_spawn_file_actions_adddup2(actions.get(), STDOUT_FILENO, number));
        if (!added) return added.error();
        return UniqueFd();
    }
    if (what == Stdio::inherit) return UniqueFd();
    auto ends = open_pipe();
    if (!ends) return ends.error();
    const bool child_reads = number == STDIN_FILENO;
    UniqueFd& childs_end = child_reads ? ends->read_end : ends->write_end;
    auto added =
        answer_of(::posix_spawn_file_actions_adddup2(actions.get(), childs_end.get(), number));
    if (!added) return added.error();
    childs.push_back(std::move(childs_end));
    return std::move(child_reads ? ends->write_end : ends->read_end);
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
    pointers.push_back(nullptr);
    return pointers;
}

Result<void> set_attributes(Attributes& attributes, bool own_group) {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (own_group) flags |= POSIX_SPAWN_SETPGROUP;
    auto set = answer_of(::posix_spawnattr_setsigmask(attributes.get(), &none));
    if (set) set = answer_of(::posix_spawnattr_setsigdefault(attributes.get(), &all));
    if (set) set = answer_of(::posix_spawnattr_setpgroup(attributes.get(), 0));
    if (set) set = answer_of(::posix_spawnattr_setflags(attributes.get(), flags));
    return set;
}

} // namespace

Result<SpawnedChild> spawn_child(const ProcessOptions& options) {
    if (options.command.empty() || options.input == Stdio::output ||
        options.output == Stdio::output)
        return std::errc::invalid_argument;
    FileActions actions;
    std::vector<UniqueFd> childs; // its ends of the pipes, until it has them
    SpawnedChild child;
    const std::array<std::pair<Stdio, UniqueFd*>, 3> three = {{{options.input, &child.input},
                                                               {options.output, &child.output},
                                                               {options.error, &child.error}}};
    for (int number = 0; number < 3; ++number) {
        const auto& [what, mine] = three[static_cast<std::size_t>(number)];
        auto end = give(actions, number, what, childs);
        if (!end) return end.error();
        *mine = std::move(*end);
    }
    auto prepared =
        answer_of(::posix_spawn_file_actions_addclosefrom_np(actions.get(), STDERR_FILENO + 1));
    if (prepared && !options.directory.empty())
        prepared = answer_of(
            ::posix_spawn_file_actions_addchdir_np(actions.get(), options.directory.c_str()));
    Attributes attributes;
    if (prepared) prepared = set_attributes(attributes, options.own_group);
    if (!prepared) return prepared.error();

    const auto arguments = pointers_to(options.command);
    const std::vector<std::string> none;
    const auto own = pointers_to(options.environment ? *options.environment : none);
    auto spawned =
        answer_of(::posix_spawnp(&child.pid, arguments.front(), actions.get(), attributes.get(),
                                 arguments.data(), options.environment ? own.data() : environ));
    if (!spawned) return spawned.error();
    child.pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
    if (!child.pidfd) { // no descriptor is left: a child without one could not be waited for
        const int number = errno;
        ::kill(child.pid, SIGKILL);
        ::waitpid(child.pid, nullptr, 0);
        return error_from_errno(number);
    }
    return child;
}

} // namespace ringlet
