#pragma once

// One try of an operation, by the system call that does it without waiting.

#include <ringlet/detail/operation.hpp>
#include <ringlet/statistics.hpp>

#include <sys/types.h>

namespace ringlet {

/// Answers as the system call: -1 and errno EAGAIN when the operation would have to wait. Counts its calls.
///
/// size_bytes  The most to move; reduced if the call is given less.
ssize_t attempt_without_waiting(const Operation& operation, std::size_t& size_bytes,
                                RingStats& stats);

} // namespace ringlet
