#pragma once

// Printing, even if no reader is left.

#include <ringlet/error_output.hpp>

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sysexits.h>
#include <unistd.h>

/// A write to a reader that has gone fails instead of ending the program. Call it first.
inline void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

/// Keeps the numbers of standard streams that were closed at the start, so that no file which is opened later
/// gets them and is printed into. A write to one of these still fails. Call it before anything is opened.
inline void hold_standard_streams() {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) >= 0) continue;
        const int wrong_way = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        static_cast<void>(::open(
            "/dev/null", wrong_way | O_NOCTTY)); // takes the lowest free number, which is `fd`
    }
}

/// Prints to stderr, in one piece, and never waits, so a loop may call it. What cannot be written is dropped: there
/// is no other place to report it.
template <class... Values>
void say(fmt::format_string<Values...> format, Values&&... values) noexcept {
    try {
        ringlet::write_error(fmt::format(format, std::forward<Values>(values)...));
    } catch (const std::exception&) { // no memory for a message
    }
}

/// Prints to stdout, as far as that can be written: see `end_output`.
template <class... Values>
void print(fmt::format_string<Values...> format, Values&&... values) {
    const std::string text = fmt::format(format, std::forward<Values>(values)...);
    std::fwrite(text.data(), 1, text.size(), stdout);
}

/// Returns the exit status after the output: `status`, or 74 and a line on stderr if not all that was printed
/// could be written.
inline int end_output(const char* program, int status) {
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
    say("{}: the output could not be written\n", program);
    return EX_IOERR;
}
