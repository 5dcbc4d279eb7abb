#pragma once

// How much memory is in use, as the kernel reports it.

#include <cstdint>
#include <optional>

#include <sys/types.h>

/// What a process has in memory, in bytes (Rss in /proc/PID/smaps_rollup); empty, with errno set, if
/// we may not ask.
std::optional<std::uint64_t> resident_bytes(pid_t process);

/// What the kernel of this machine uses for its objects, in bytes: sockets, files, inodes, requests
/// of io_uring (Slab in /proc/meminfo).
std::optional<std::uint64_t> kernel_object_bytes();
