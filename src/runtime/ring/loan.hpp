#pragma once

// Memory that an operation lends to the kernel must still exist when the answer comes. ASan does not
// see the kernel's writes: an operation or bytes freed too early are detected here.

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/operation.hpp>

#include "base/sanitizer.hpp"

namespace ringlet {

/// Aborts if the operation or its bytes have been freed. Does nothing without ASan.
inline void check_loan(const Operation& operation) {
    if constexpr (!address_sanitizer_runs) return;
    RINGLET_ASSERT(!is_freed(&operation, sizeof operation),
                   "an operation was freed while the kernel had it");
    if (!operation.lends_bytes() || operation.data == nullptr) return;
    RINGLET_ASSERT(!is_freed(operation.rest(), operation.rest_bytes()),
                   "a buffer was freed while the kernel had it");
}

} // namespace ringlet
