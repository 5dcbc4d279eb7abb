#include "terminal.hpp"

#include <algorithm>
#include <cerrno>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace {

// xterm's sequences, which all terminals in use know: another page, without a cursor.
constexpr std::string_view take_page = "\033[?1049h\033[?25l";
constexpr std::string_view give_page_back = "\033[?25h\033[?1049l";
constexpr std::string_view to_first_line = "\033[H";
constexpr std::string_view clear_rest_of_line = "\033[K";
constexpr std::string_view clear_below = "\033[J";

} // namespace

Terminal::Terminal()
    : page_(::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) {
    termios now{};
    if (::tcgetattr(STDIN_FILENO, &now) == 0) keys_before_ = now;
}

void Terminal::enter() {
    if (is_taken_) return;
    is_taken_ = true;
    if (keys_before_) {
        termios now = *keys_before_;
        now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO); // signals remain
        now.c_cc[VMIN] = 1;
        now.c_cc[VTIME] = 0;
        ::tcsetattr(STDIN_FILENO, TCSANOW, &now);
    }
    write(take_page);
}

void Terminal::leave() noexcept {
    if (!is_taken_) return;
    is_taken_ = false;
    write(give_page_back);
    if (keys_before_) ::tcsetattr(STDIN_FILENO, TCSANOW, &*keys_before_);
}

void Terminal::draw(std::string_view page) {
    const Size room = size();
    std::string text(to_first_line);
    for (std::size_t line = 0; line < room.lines && !page.empty(); ++line) {
        const std::size_t end = std::min(page.find('\n'), page.size());
        if (line > 0) text += "\r\n";
        text += page.substr(0, std::min(end, room.columns));
        text += clear_rest_of_line;
        page.remove_prefix(std::min(end + 1, page.size()));
    }
    write(text += clear_below);
}

int Terminal::key() noexcept {
    pollfd asked{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (::poll(&asked, 1, 0) <= 0) return 0;
    unsigned char pressed = 0;
    const ssize_t count = ::read(STDIN_FILENO, &pressed, 1);
    if (count > 0) return pressed;
    return count < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -1;
}

Terminal::Size Terminal::size() const noexcept {
    winsize told{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &told) != 0 || told.ws_row == 0 || told.ws_col == 0)
        return {};
    return {.lines = told.ws_row, .columns = told.ws_col};
}

void Terminal::write(std::string_view text) noexcept {
    while (!text.empty()) {
        const ssize_t count = ::write(page_.get(), text.data(), text.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(count));
    }
}
