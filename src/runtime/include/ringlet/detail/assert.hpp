#pragma once

#include <ringlet/detail/config.hpp>

namespace RINGLET_EXPORT ringlet {

/// Prints the broken promise with its place to stderr and aborts. Called by `RINGLET_ASSERT` only.
[[noreturn]] void assertion_failed(const char* condition, const char* message, const char* file,
                                   int line) noexcept;

} // namespace ringlet

/// Aborts with `message` unless `condition` holds: a promise of the caller was broken.
///
/// Stays in release builds; use it where it costs no more than a compare. Never put a `co_await`
/// inside (g++ 12 miscompiles it).
#define RINGLET_ASSERT(condition, message)                                                         \
    ((condition) ? static_cast<void>(0)                                                            \
                 : ::ringlet::assertion_failed(#condition, message, __FILE__, __LINE__))
