#include "support.hpp"

#include <ringlet/detail/frame_pool.hpp>

#include "base/sanitizer.hpp"

#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include <malloc.h>

using namespace ringlet;

namespace {

constexpr const char* nothing_is_kept = "under ASan the pool keeps nothing, so that its quarantine "
                                        "finds a use after free";

constexpr std::size_t class_bytes = FramePool::class_bytes;

} // namespace

TEST_CASE("FramePool gives blocks that are aligned and large enough and disjoint") {
    FramePool pool;
    struct Given {
        void* block;
        std::size_t size_bytes;
    };
    std::vector<Given> given;
    for (std::size_t size = 1; size <= FramePool::largest_bytes + class_bytes; size += 37) {
        void* block = pool.allocate(size);
        CHECK(reinterpret_cast<std::uintptr_t>(block) % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0);
        std::memset(block, static_cast<int>(size % 251), size);
        given.push_back({block, size});
    }
    for (const auto& [block, size] : given) {
        const auto* bytes = static_cast<const unsigned char*>(block);
        bool whole = true;
        for (std::size_t i = 0; i < size; ++i) whole = whole && bytes[i] == size % 251;
        CHECK(whole);
        pool.release(block, size);
    }
    pool.trim();
}

TEST_CASE("FramePool gives a released block to the next of its size class") {
    if (address_sanitizer_runs) RINGLET_SKIP(nothing_is_kept);
    FramePool pool;
    CHECK(pool.kept_count() == 0);
    void* first = pool.allocate(class_bytes + 1);
    pool.release(first, class_bytes + 1);
    CHECK(pool.kept_count() == 1);

    void* smaller = pool.allocate(class_bytes);
    CHECK(smaller != first);
    CHECK(pool.kept_count() == 1);
    void* again = pool.allocate(2 * class_bytes);
    CHECK(again == first);
    CHECK(pool.kept_count() == 0);

    pool.release(smaller, class_bytes);
    pool.release(again, 2 * class_bytes);
    pool.trim();
}

TEST_CASE("FramePool reuses the most recently released block first") {
    if (address_sanitizer_runs) RINGLET_SKIP(nothing_is_kept);
    FramePool pool;
    void* first = pool.allocate(100);
    void* second = pool.allocate(100);
    pool.release(first, 100);
    pool.release(second, 100);
    CHECK(pool.allocate(100) == second); // most likely still in the cache
    CHECK(pool.allocate(100) == first);
    pool.release(first, 100);
    pool.release(second, 100);
    pool.trim();
}

TEST_CASE("FramePool keeps no large blocks") {
    FramePool pool;
    void* large = pool.allocate(FramePool::largest_bytes + 1);
    pool.release(large, FramePool::largest_bytes + 1);
    CHECK(pool.kept_count() == 0);
    void* largest = pool.allocate(FramePool::largest_bytes);
    pool.release(largest, FramePool::largest_bytes);
    CHECK(pool.kept_count() == (address_sanitizer_runs ? 0 : 1));
    pool.trim();
}

TEST_CASE("FramePool keeps no more than its limit per size class") {
    if (address_sanitizer_runs) RINGLET_SKIP(nothing_is_kept);
    FramePool pool;
    constexpr std::size_t limit = FramePool::kept_per_class_limit;
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < limit + 10; ++i) blocks.push_back(pool.allocate(64));
    for (void* block : blocks) pool.release(block, 64);
    CHECK(pool.kept_count() == limit);

    // Another class has its own limit.
    void* other = pool.allocate(65);
    pool.release(other, 65);
    CHECK(pool.kept_count() == limit + 1);

    // A block that is taken out makes room again.
    void* block = pool.allocate(64);
    CHECK(pool.kept_count() == limit);
    pool.release(block, 64);
    CHECK(pool.kept_count() == limit + 1);
    pool.trim();
    CHECK(pool.kept_count() == 0);
}

TEST_CASE("FramePool trim returns blocks to the global allocator") {
    if (address_sanitizer_runs) RINGLET_SKIP(nothing_is_kept);
    constexpr std::size_t block_count = 4000;
    constexpr std::size_t total_bytes = block_count * FramePool::largest_bytes;
    const auto before = ::mallinfo2().uordblks;
    FramePool pool;
    std::vector<void*> blocks;
    blocks.reserve(block_count);
    for (std::size_t i = 0; i < block_count; ++i) {
        blocks.push_back(pool.allocate(FramePool::largest_bytes));
    }
    for (void* block : blocks) pool.release(block, FramePool::largest_bytes);
    const auto kept = ::mallinfo2().uordblks;
    pool.trim();
    const auto after = ::mallinfo2().uordblks;
    if (kept == before) RINGLET_SKIP("the allocator of this build counts nothing (TSan)");
    CHECK(kept - before > total_bytes);
    CHECK(after - before < total_bytes / 10);
}

TEST_CASE("FramePool still works after a trim") {
    FramePool pool;
    pool.trim();
    void* block = pool.allocate(500);
    pool.release(block, 500);
    pool.trim();
    CHECK(pool.kept_count() == 0);
    block = pool.allocate(500);
    std::memset(block, 1, 500);
    pool.release(block, 500);
    pool.trim();
}

TEST_CASE("FramePool keeps a block from another thread in the pool that released it") {
    // Under ASan the counts are zero, and the test is that nothing leaks or is freed twice.
    constexpr std::size_t block_count = 50;
    const std::size_t kept = address_sanitizer_runs ? 0 : block_count;
    FramePool& here = FramePool::local();
    here.trim();
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < block_count; ++i) blocks.push_back(here.allocate(200));

    FramePool* pool_there = nullptr;
    std::size_t kept_there = 0;
    bool reused_there = true;
    std::thread thread([&] {
        FramePool& there = FramePool::local();
        pool_there = &there;
        for (void* block : blocks) there.release(block, 200);
        kept_there = there.kept_count();
        const std::set<void*> known(blocks.begin(), blocks.end());
        void* block = there.allocate(200);
        reused_there = known.count(block) == 1;
        there.release(block, 200);
        // When the thread ends, its pool returns what it keeps to the global allocator:
        // LeakSanitizer and valgrind check that.
    });
    thread.join();
    CHECK(pool_there != &here);
    CHECK(kept_there == kept);
    CHECK(reused_there == !address_sanitizer_runs);
    CHECK(here.kept_count() == 0);
}

TEST_CASE("FramePool can still be used by destructors of thread_local objects") {
    std::thread thread([] {
        struct Late {
            void* block = nullptr;
            ~Late() {
                if (block != nullptr) FramePool::local().release(block, 128);
            }
        };
        // Made before the pool's own closer, so that it is destroyed after it.
        static thread_local Late late;
        late.block = FramePool::local().allocate(128);
        void* other = FramePool::local().allocate(128);
        FramePool::local().release(other, 128);
    });
    thread.join();
}

TEST_CASE("FramePool serves the types that inherit Pooled") {
    struct Connection : Pooled {
        std::array<char, 150> bytes{};
    };
    FramePool& pool = FramePool::local();
    pool.trim();
    auto* first = new Connection;
    const void* address = first;
    delete first;
    CHECK(pool.kept_count() == (address_sanitizer_runs ? 0 : 1));
    auto* second = new Connection;
    const bool same_block = static_cast<const void*>(second) == address;
    if (!address_sanitizer_runs) CHECK(same_block);
    CHECK(pool.kept_count() == 0);
    delete second;
    pool.trim();
}

TEST_CASE("FramePool counts the blocks in use, of any size, reused or not") {
    FramePool pool;
    const auto uses = [&pool](std::ptrdiff_t count, std::size_t bytes) {
        const FramePool::Use use = pool.in_use();
        CHECK(use.block_count == count);
        CHECK(use.bytes == static_cast<std::ptrdiff_t>(bytes));
    };
    constexpr std::size_t large = FramePool::largest_bytes + 100;
    uses(0, 0);
    void* small = pool.allocate(class_bytes - 1);
    uses(1, class_bytes);
    void* other = pool.allocate(2 * class_bytes);
    void* huge = pool.allocate(large);
    uses(3, 3 * class_bytes + large);
    pool.release(other, 2 * class_bytes);
    uses(2, class_bytes + large);
    other = pool.allocate(2 * class_bytes);
    uses(3, 3 * class_bytes + large);
    pool.release(huge, large);
    pool.release(other, 2 * class_bytes);
    pool.trim();
    uses(1, class_bytes);
    pool.release(small, class_bytes - 1);
    uses(0, 0);
    pool.trim();
    uses(0, 0);
}

TEST_CASE("FramePool counts add up over both pools when one releases a block of the other") {
    FramePool here;
    FramePool there;
    void* block = here.allocate(100);
    const FramePool::Use use = here.in_use();
    there.release(block, 100);
    CHECK(here.in_use().block_count + there.in_use().block_count == 0);
    CHECK(here.in_use().bytes == use.bytes);
    CHECK(here.in_use().bytes + there.in_use().bytes == 0);
    there.trim();
}

TEST_CASE("an audit counts blocks, keeps none, and makes one allocation fail") {
    FramePool& pool = FramePool::local();
    FramePool::Audit audit{.fails_at = 3};
    pool.audit(&audit);
    CHECK(pool.kept_count() == 0);
    void* first = pool.allocate(64);
    void* second = pool.allocate(100'000);
    CHECK(audit.live_count == 2);
    CHECK_THROWS_AS(static_cast<void>(pool.allocate(64)), std::bad_alloc);
    void* third = pool.allocate(64);
    CHECK(audit.live_count == 3);
    CHECK(audit.allocation_count == 4);
    pool.release(first, 64);
    pool.release(second, 100'000);
    CHECK(pool.kept_count() == 0);
    CHECK(audit.live_count == 1);
    pool.audit(nullptr);
    pool.release(third, 64);
    CHECK(audit.live_count == 1);
}

namespace {

Task<Result<void>> nap() {
    auto slept = co_await sleep_for(std::chrono::microseconds(1));
    co_return slept;
}

Task<> says_ready(Ready<int> ready) {
    ready(1);
    co_return;
}

Task<> everything_that_allocates() {
    auto body = [](TaskGroup& group) -> Task<> {
        group.spawn(nap);
        auto number = co_await group.start<int>(says_ready);
        static_cast<void>(number);
        auto ended = co_await when_any(nap(), sleep_for(std::chrono::microseconds(1)), nap());
        static_cast<void>(ended);
        auto in_time = co_await with_timeout(std::chrono::hours(1), nap);
        static_cast<void>(in_time);
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
}

} // namespace

TEST_CASE("whichever allocation fails, every other block is given back") {
    bool has_failed = true;
    for (std::uint64_t fails_at = 1; has_failed; ++fails_at) {
        CAPTURE(fails_at);
        FramePool::Audit audit{.fails_at = fails_at};
        auto loop = EventLoop::create();
        REQUIRE(loop);
        FramePool::local().audit(&audit);
        bool threw = false;
        try {
            static_cast<void>(loop->run(everything_that_allocates));
        } catch (const std::bad_alloc&) {
            threw = true;
        }
        FramePool::local().audit(nullptr);
        has_failed = audit.allocation_count >= fails_at;
        CHECK(threw == has_failed);
        CHECK(audit.live_count == 0);
        REQUIRE(fails_at < 1000);
    }
}
