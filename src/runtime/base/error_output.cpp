#include <ringlet/error_output.hpp>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <mutex>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ringlet {

namespace {

// Writes to stderr without waiting. Its flags are not ours to change: it may be shared with other processes, which
// O_NONBLOCK would affect as well.
class ErrorOutput {
public:
    ErrorOutput() noexcept {
        struct stat status{};
        if (::fstat(STDERR_FILENO, &status) != 0) return;
        is_pipe_ = S_ISFIFO(status.st_mode);
        is_terminal_ = S_ISCHR(status.st_mode) && ::isatty(STDERR_FILENO) == 1;
        // Not a file: a second description would write from its beginning.
        if (!is_pipe_ && !is_terminal_) return;
        own_ = ::open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        has_no_reader_ = own_ < 0 && errno == ENXIO; // fifo(7)
    }
    ErrorOutput(const ErrorOutput&) = delete;
    ErrorOutput& operator=(const ErrorOutput&) = delete;
    ~ErrorOutput() {
        if (own_ >= 0) ::close(own_);
    }

    // Returns how many bytes were written.
    [[nodiscard]] std::size_t write_what_fits(std::string_view text) const noexcept {
        std::size_t written = 0;
        while (written < text.size()) {
            const ssize_t size = write_some(text.substr(written));
            if (size <= 0) break;
            written += static_cast<std::size_t>(size);
        }
        return written;
    }

private:
    [[nodiscard]] ssize_t write_some(std::string_view text) const noexcept {
        if (has_no_reader_) return -1;
        if (own_ >= 0) return ::write(own_, text.data(), text.size());
        const ssize_t sent =
            ::send(STDERR_FILENO, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0 || errno != ENOTSOCK) return sent;
        // There is no descriptor left, no /proc, or the pipe belongs to another user. A writable pipe has room for
        // PIPE_BUF bytes (pipe(7)), a terminal for one.
        const std::size_t room = is_pipe_ ? PIPE_BUF : is_terminal_ ? 1 : text.size();
        return has_room() ? ::write(STDERR_FILENO, text.data(), text.substr(0, room).size()) : -1;
    }

    static bool has_room() noexcept {
        pollfd out{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
        return ::poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
    }

    int own_ = -1;
    bool has_no_reader_ = false;
    bool is_pipe_ = false;
    bool is_terminal_ = false;
};

} // namespace

void write_error(std::string_view text) noexcept {
    static std::mutex mutex;
    static std::size_t lost_bytes = 0;
    const std::lock_guard lock(mutex);
    const ErrorOutput output; // opened each time: the program may replace descriptor 2
    if (lost_bytes > 0) {
        char note[80];
        const int size = std::snprintf(
            note, sizeof note, "\n[%zu bytes were dropped here: nobody read stderr]\n", lost_bytes);
        if (output.write_what_fits({note, static_cast<std::size_t>(size)}) == 0) {
            lost_bytes += text.size();
            return;
        }
        lost_bytes = 0;
    }
    lost_bytes = text.size() - output.write_what_fits(text);
}

} // namespace ringlet
