#include "output_file.hpp"

#include <cerrno>

#include <fcntl.h>
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

// A pipe or a device has nothing that could be thrown away, and says so: no failure.
void empty(int fd) { static_cast<void>(::ftruncate(fd, 0) == 0); }

} // namespace

OutputFile::~OutputFile() {
    if (is_ours_) ::unlink(path_.c_str());
}

bool OutputFile::open(const std::string& path) {
    constexpr int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY;
    constexpr mode_t mode = 0666;
    path_ = path;
    fd_ = ringlet::UniqueFd(::open(path.c_str(), flags | O_EXCL, mode));
    is_ours_ = is_open();
    if (!is_open() && errno == EEXIST) {
        fd_ = ringlet::UniqueFd(::open(path.c_str(), flags, mode));
    }
    return is_open();
}

bool OutputFile::write(std::string_view text) {
    empty(fd_.get());
    if (!write_all(fd_.get(), text)) {
        const int failure = errno;
        empty(fd_.get());
        errno = failure;
        return false;
    }
    is_ours_ = false;
    return ::close(fd_.release()) == 0;
}
