#pragma once

// Tells the address sanitizer about memory that only the kernel or a free list touches. It sees
// neither the kernel's writes nor that a block in a free list must not be used.

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define RINGLET_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RINGLET_ASAN 1
#endif
#endif
#ifndef RINGLET_ASAN
#define RINGLET_ASAN 0
#endif

#if RINGLET_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace ringlet {

inline constexpr bool address_sanitizer_runs = RINGLET_ASAN != 0;

/// True when some byte of the region has been freed or has left its scope. Always false without
/// ASan.
[[nodiscard]] inline bool is_freed([[maybe_unused]] const void* bytes,
                                   [[maybe_unused]] std::size_t size_bytes) noexcept {
#if RINGLET_ASAN
    if (size_bytes == 0) return false;
    return __asan_region_is_poisoned(const_cast<void*>(bytes), size_bytes) != nullptr;
#else
    return false;
#endif
}

} // namespace ringlet
