#include "base/buffer_pool.hpp"

#include "base/sanitizer.hpp"
#include "net.hpp"
#include "ring/epoll/epoll_ring.hpp"
#include "ring/uring/uring_ring.hpp"

#include <memory>
#include <thread>
#include <utility>
#include <vector>

using namespace ringlet;

TEST_CASE("borrowed blocks are counted") {
    const auto before = Buffer::lent_count();
    std::byte* first = Buffer::borrow();
    std::byte* second = Buffer::borrow();
    CHECK(Buffer::lent_count() == before + 2);
    Buffer::give_back(second);
    CHECK(Buffer::lent_count() == before + 1);
    static_cast<void>(Buffer(first, 1));
    CHECK(Buffer::lent_count() == before);
}

TEST_CASE("blocks provided to the kernel are not counted") {
    BufferPool& pool = BufferPool::of_this_thread();
    const auto before = pool.lent_count();
    std::byte* block = pool.borrow();
    pool.note_provided(1);
    CHECK(pool.lent_count() == before);
    pool.note_provided(-1);
    CHECK(pool.lent_count() == before + 1);
    BufferPool::give_back(block);
    CHECK(pool.lent_count() == before);
}

TEST_CASE("a block given back on another thread is no longer counted on its own thread") {
    const auto before = Buffer::lent_count();
    std::vector<Buffer> buffers;
    for (std::size_t i = 0; i < 100; ++i) buffers.emplace_back(Buffer::borrow(), i + 1);
    CHECK(Buffer::lent_count() == before + 100);
    std::ptrdiff_t counted_there = -1;
    std::thread other([&] {
        buffers.clear();
        counted_there = Buffer::lent_count();
    });
    other.join();
    CHECK(counted_there == 0);
    CHECK(Buffer::lent_count() == before);
}

TEST_CASE("a pool outlives its thread until its last block is back") {
    // LeakSanitizer would find a pool that stayed, ASan one that went too early.
    for (const std::size_t left_behind : {0U, 1U, 3U}) {
        CAPTURE(left_behind);
        std::vector<Buffer> buffers;
        std::thread other([&] {
            for (std::size_t i = 0; i < 3; ++i) buffers.emplace_back(Buffer::borrow(), 1);
            while (buffers.size() > left_behind) buffers.pop_back();
        });
        other.join();
        CHECK(buffers.size() == left_behind);
        std::thread third([&] {
            if (!buffers.empty()) buffers.pop_back();
        });
        third.join();
    }
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

TEST_CASE("a ring may outlive the pool of its thread") {
    // ASan would find a use of the pool.
    std::thread other([] {
        static thread_local std::unique_ptr<Ring> uring; // destroyed after whatever is made later
        static thread_local std::unique_ptr<Ring> epoll;
        auto made = make_uring_ring({.entries = 8});
        if (made) uring = std::move(*made);
        auto made_too = make_epoll_ring({});
        REQUIRE(made_too);
        epoll = std::move(*made_too);
    });
    other.join();
}
