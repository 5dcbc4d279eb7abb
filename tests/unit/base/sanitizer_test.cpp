#include "support.hpp"

#include "base/sanitizer.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

using namespace ringlet;

TEST_CASE("sanitizer does not mistake live memory for freed memory") {
    const std::array<std::byte, 32> on_stack{};
    CHECK_FALSE(is_freed(on_stack.data(), on_stack.size()));
    auto* on_heap = new std::array<std::byte, 100>;
    CHECK_FALSE(is_freed(on_heap, sizeof *on_heap));
    delete on_heap;
}

TEST_CASE("sanitizer detects freed memory under ASan and never without it") {
    auto* block = new std::array<std::byte, 100>;
    // The optimizer must not see that the block is inspected after it was freed.
    auto address = reinterpret_cast<std::uintptr_t>(block);
    asm volatile("" : "+r"(address));
    delete block;
    const auto* gone = reinterpret_cast<const std::byte*>(address); // NOLINT: on purpose
    CHECK(is_freed(gone, 100) == address_sanitizer_runs);
    CHECK(is_freed(gone + 99, 1) == address_sanitizer_runs);
    CHECK_FALSE(is_freed(gone, 0));
}
