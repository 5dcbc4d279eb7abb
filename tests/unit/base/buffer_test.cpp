#include <ringlet/buffer.hpp>

#include "base/sanitizer.hpp"
#include "net.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

static_assert(!std::is_copy_constructible_v<Buffer> && !std::is_copy_assignable_v<Buffer>);
static_assert(std::is_nothrow_move_constructible_v<Buffer>);

TEST_CASE("an empty buffer holds nothing") {
    const Buffer buffer;
    CHECK(buffer.empty());
    CHECK(buffer.size() == 0);
    CHECK(buffer.begin() == buffer.end());
}

TEST_CASE("a buffer is a range of the bytes that were filled") {
    std::byte* memory = Buffer::borrow();
    std::fill_n(memory, Buffer::capacity_bytes, std::byte{7});
    Buffer buffer(memory, 100);
    CHECK_FALSE(buffer.empty());
    CHECK(buffer.size() == 100);
    CHECK(buffer.data() == memory);
    CHECK(buffer.end() - buffer.begin() == 100);
    const std::span<const std::byte> bytes = buffer;
    CHECK(bytes.size() == 100);
    CHECK(std::ranges::count(buffer, std::byte{7}) == 100);
}

TEST_CASE("memory is aligned to a cache line") {
    std::byte* memory = Buffer::borrow();
    CHECK(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0);
    Buffer::give_back(memory);
}

TEST_CASE("moving a buffer moves the memory, and leaves an empty one") {
    std::byte* first = Buffer::borrow();
    std::byte* second = Buffer::borrow();
    Buffer one(first, 1);
    Buffer moved(std::move(one));
    CHECK(one.empty()); // NOLINT: what a move leaves is promised
    CHECK(one.data() == nullptr);
    CHECK(moved.data() == first);

    Buffer other(second, 2);
    other = std::move(moved); // gives `second` back
    CHECK(other.data() == first);
    CHECK(other.size() == 1);
    CHECK(moved.empty()); // NOLINT

    Buffer& itself = other;
    other = std::move(itself);
    CHECK(other.data() == first);
    CHECK(other.size() == 1);
    if constexpr (address_sanitizer_runs) CHECK(is_freed(second, 1));
}

TEST_CASE("returned memory is used again, except under ASan, where it is freed") {
    std::byte* memory = nullptr;
    {
        const Buffer buffer(Buffer::borrow(), 1);
        memory = const_cast<std::byte*>(buffer.data());
    }
    if constexpr (address_sanitizer_runs) {
        CHECK(is_freed(memory, Buffer::capacity_bytes));
        return;
    }
    std::byte* again = Buffer::borrow();
    CHECK(again == memory);
    Buffer::give_back(again);
}
