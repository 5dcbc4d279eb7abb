#pragma once

// How many descriptors a program may have.

#include <cstddef>

#include <sys/resource.h>

/// The limit of this process, `RLIMIT_NOFILE`. If the question is refused, as by a seccomp filter, Linux's default: an
/// answer of 0 would certainly be wrong.
inline rlimit descriptor_limit() noexcept {
    rlimit limit{.rlim_cur = 1024, .rlim_max = 1024};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    return limit;
}

/// Takes as many as it may have, and returns how many those are.
inline std::size_t raise_descriptor_limit() noexcept {
    rlimit limit = descriptor_limit();
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return static_cast<std::size_t>(descriptor_limit().rlim_cur);
}
