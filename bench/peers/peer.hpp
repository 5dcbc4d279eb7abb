// What the peers in C++ do the same way: read the port, and fail with one clear line.

#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <sysexits.h>

inline constexpr int peer_backlog = 4096;

/// Returns the port in argv[1], or ends the program.
inline unsigned short peer_port(const char* name, int argc, char** argv) {
    std::string_view digits = argc == 2 ? argv[1] : "";
    bool digits_only = digits.find_first_not_of("0123456789") == digits.npos;
    long port = digits_only && digits.size() < 6 && !digits.empty() ? std::atol(argv[1]) : 0;
    if (port < 1 || port > 65535) {
        std::fprintf(stderr, "usage: %s PORT    (echoes on 127.0.0.1:PORT; PORT is 1 to 65535)\n", name);
        std::exit(EX_USAGE);
    }
    return static_cast<unsigned short>(port);
}
