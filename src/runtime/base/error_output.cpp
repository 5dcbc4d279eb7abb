#include "base/error_output.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <mutex>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ringlet {

namespace {

// A pipe that is writable has room for so many bytes at least (pipe(7)).
constexpr std::size_t chunk_bytes = PIPE_BUF;

bool has_room() noexcept {
    pollfd out{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    return ::poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

// The part that was written.
std::size_t write_what_fits(std::string_view text) noexcept {
    std::size_t written = 0;
    while (written < text.size()) {
        const std::string_view part = text.substr(written, chunk_bytes);
        ssize_t size = ::send(STDERR_FILENO, part.data(), part.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && errno == ENOTSOCK)
            size = has_room() ? ::write(STDERR_FILENO, part.data(), part.size()) : -1;
        if (size <= 0) break;
        written += static_cast<std::size_t>(size);
    }
    return written;
}

} // namespace

void write_error(std::string_view text) noexcept {
    static std::mutex mutex;
    static std::size_t lost_bytes = 0;
    const std::lock_guard lock(mutex);
    if (lost_bytes > 0) {
        char note[80];
        const int size = std::snprintf(
            note, sizeof note, "\n[%zu bytes were dropped here: nobody read stderr]\n", lost_bytes);
        if (write_what_fits({note, static_cast<std::size_t>(size)}) == 0) {
            lost_bytes += text.size();
            return;
        }
        lost_bytes = 0;
    }
    lost_bytes = text.size() - write_what_fits(text);
}

} // namespace ringlet
