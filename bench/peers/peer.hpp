// What all peers in C++ share: read the port, and fail with one clear line.

#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <sysexits.h>

inline constexpr int peer_backlog = 4096;
inline constexpr int peer_buffer_bytes = 16 * 1024;

/// Returns the port in argv[1], or ends the program.
inline unsigned short peer_port(int argc, char** argv) {
    std::string_view digits = argc == 2 ? argv[1] : "";
    bool number = digits.size() < 6 && digits.find_first_not_of("0123456789") == digits.npos;
    int port = number && !digits.empty() ? std::atoi(argv[1]) : 0;
    if (port < 1 || port > 65535) {
        std::fprintf(stderr, "usage: %s PORT    (echoes on 127.0.0.1:PORT; PORT is 1 to 65535)\n",
                     program_invocation_short_name);
        std::exit(EX_USAGE);
    }
    return static_cast<unsigned short>(port);
}

/// Says what went wrong, and ends the program.
[[noreturn]] inline void peer_fail(unsigned short port, int error) {
    std::fprintf(stderr, "%s: 127.0.0.1:%d: %s%s\n", program_invocation_short_name, port,
                 std::strerror(error), error == EADDRINUSE ? " (another server runs there)" : "");
    std::exit(error == EADDRINUSE ? EX_UNAVAILABLE : EX_OSERR);
}
