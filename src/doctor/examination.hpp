#pragma once

// What this machine can do for a ringlet server.

#include "finding.hpp"

#include <vector>

struct Examination {
    std::vector<Finding> findings;
    bool io_uring_works = false;
    bool epoll_works = false;
};

/// Looks at everything. Takes some milliseconds, and leaves nothing behind.
[[nodiscard]] Examination examine();
