#pragma once

#include <ringlet/detail/config.hpp>

namespace RINGLET_EXPORT ringlet {

/// Prints the violated promise and its location to stderr, and aborts. For `RINGLET_ASSERT` only.
[[noreturn]] void assertion_failed(const char* condition, const char* message, const char* file,
                                   int line) noexcept;

} // namespace ringlet

/// Aborts with `message` unless `condition` holds: the caller broke a promise.
///
/// Stays in release builds; use it where it costs no more than a comparison. Never put a `co_await`
/// inside (g++ 12 miscompiles it).
#define RINGLET_ASSERT(condition, message)                                                         \
    ((condition) ? static_cast<void>(0)                                                            \
                 : ::ringlet::assertion_failed(#condition, message, __FILE__, __LINE__))
