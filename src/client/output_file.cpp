#include "output_file.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

bool write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

// It may have been closed at the start; its number then belongs to a file that cannot be written.
bool is_writable(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

// Only the result goes to stdout: a program that reads it there wants nothing else.
int take_stdout() {
    if (!is_writable(STDOUT_FILENO)) {
        errno = EBADF;
        return -1;
    }
    const int fd = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0) return fd;
    const ringlet::UniqueFd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    ::dup2(is_writable(STDERR_FILENO) ? STDERR_FILENO : nowhere.get(), STDOUT_FILENO);
    return fd;
}

// Pipes and devices have nothing to truncate and report an error: that is not a failure.
void empty(int fd) { static_cast<void>(::ftruncate(fd, 0) == 0); }

} // namespace

OutputFile::~OutputFile() {
    if (is_ours_) ::unlink(path_.c_str());
}

bool OutputFile::open(const std::string& path) {
    constexpr int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY;
    constexpr mode_t mode = 0666;
    path_ = path;
    is_stdout_ = path == "-";
    if (is_stdout_) {
        fd_ = ringlet::UniqueFd(take_stdout());
        return is_open();
    }
    fd_ = ringlet::UniqueFd(::open(path.c_str(), flags | O_EXCL, mode));
    is_ours_ = is_open();
    if (!is_open() && errno == EEXIST) {
        fd_ = ringlet::UniqueFd(::open(path.c_str(), flags, mode));
    }
    return is_open();
}

bool OutputFile::is_same_as(const OutputFile& other) const {
    return (is_stdout_ && other.is_stdout_) || is_same_as(other.fd_.get());
}

// Devices such as /dev/null and terminals may have many writers.
bool OutputFile::is_same_as(int fd) const {
    struct stat ours{};
    struct stat theirs{};
    if (::fstat(fd_.get(), &ours) != 0 || ::fstat(fd, &theirs) != 0) return false;
    return S_ISREG(ours.st_mode) && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

bool OutputFile::write(std::string_view text) {
    if (!is_stdout_) empty(fd_.get()); // what other programs have printed there stays
    if (!write_all(fd_.get(), text)) {
        const int failure = errno;
        if (!is_stdout_) empty(fd_.get());
        errno = failure;
        return false;
    }
    is_ours_ = false;
    return ::close(fd_.release()) == 0;
}
