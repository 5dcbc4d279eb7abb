#include <ringlet/buffer.hpp>

#include "net.hpp"
#include "sanitizer.hpp"

#include <algorithm>
#include <cstdint>
#include <thread>
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

TEST_CASE("the blocks that are out are counted") {
    const auto before = Buffer::lent_count();
    std::byte* first = Buffer::borrow();
    std::byte* second = Buffer::borrow();
    CHECK(Buffer::lent_count() == before + 2);
    Buffer::give_back(second);
    CHECK(Buffer::lent_count() == before + 1);
    static_cast<void>(Buffer(first, 1));
    CHECK(Buffer::lent_count() == before);
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

TEST_CASE("a buffer may be returned on another thread, where it then stays") {
    constexpr std::size_t count = 100;
    std::vector<Buffer> buffers;
    std::vector<const std::byte*> addresses;
    for (std::size_t i = 0; i < count; ++i) {
        buffers.emplace_back(Buffer::borrow(), i + 1);
        addresses.push_back(buffers.back().data());
    }
    bool used_again = true;
    std::thread other([&] {
        buffers.clear();
        if constexpr (address_sanitizer_runs) return;
        std::vector<Buffer> mine;
        for (std::size_t i = 0; i < count; ++i) {
            mine.emplace_back(Buffer::borrow(), 1);
            used_again = used_again && std::ranges::count(addresses, mine.back().data()) == 1;
        }
    });
    other.join(); // and gives everything back to the allocator: LeakSanitizer would see
    CHECK(used_again);
}

TEST_CASE("a thread keeps a bounded number of blocks, the first that were returned") {
    if constexpr (address_sanitizer_runs) return; // keeps none
    bool all_kept = true;
    std::thread other([&] { // in a thread of its own, whose pool is empty
        std::vector<std::byte*> blocks;
        for (std::size_t i = 0; i < Buffer::kept_limit + 50; ++i) {
            blocks.push_back(Buffer::borrow());
        }
        for (std::byte* block : blocks) Buffer::give_back(block);
        blocks.resize(Buffer::kept_limit);
        // Last in, first out.
        std::vector<Buffer> again;
        for (std::size_t i = Buffer::kept_limit; i-- > 0;) {
            again.emplace_back(Buffer::borrow(), 1);
            all_kept = all_kept && again.back().data() == blocks[i];
        }
    });
    other.join();
    CHECK(all_kept);
}
