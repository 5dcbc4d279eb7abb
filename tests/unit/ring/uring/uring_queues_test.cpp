// The queues themselves, on a real ring.

#include "support.hpp"

#include "ring/uring/uring_queues.hpp"

#include <cerrno>
#include <cstring>

using namespace ringlet;

namespace {

constexpr auto no_ring = "io_uring is refused here";

} // namespace

// A stale field would change the request; that once reset connections at random.
TEST_CASE("UringQueues hands out blank submissions, whatever their slot held before") {
    auto queues = UringQueues::create(4, {});
    if (!queues) RINGLET_SKIP(no_ring);
    const io_uring_sqe blank{};
    int answers = 0;
    for (int lap = 0; lap < 5; ++lap) {
        for (int i = 0; i < 4; ++i) {
            io_uring_sqe* entry = queues->next_entry();
            CHECK(std::memcmp(entry, &blank, sizeof blank) == 0);
            std::memset(entry, 0xff, sizeof *entry);
            entry->opcode = IORING_OP_NOP;
            entry->flags = 0;
        }
        queues->enter(UringQueues::Patience::look);
        queues->take(100, [&](const io_uring_cqe&) { ++answers; });
    }
    CHECK(answers == 20);
}

TEST_CASE("UringQueues continues after a move") {
    auto made = UringQueues::create(4, {});
    if (!made) RINGLET_SKIP(no_ring);
    UringQueues queues = std::move(*made);
    for (std::uint64_t name = 1; name <= 10; ++name) {
        io_uring_sqe* entry = queues.next_entry();
        io_uring_prep_nop(entry);
        io_uring_sqe_set_data64(entry, name);
        queues.enter(UringQueues::Patience::wait);
        std::uint64_t answered = 0;
        queues.take(1, [&](const io_uring_cqe& answer) { answered = answer.user_data; });
        CHECK(answered == name);
    }
    CHECK(queues.stats().completion_overflows == 0);
}

// A thread's table has 16 slots (IO_RINGFD_REG_MAX): rings that keep theirs would fill it.
TEST_CASE("UringQueues frees its slot in the thread's table") {
    for (int i = 0; i < 40; ++i) {
        auto queues = UringQueues::create(4, {});
        if (!queues) RINGLET_SKIP(no_ring);
        const UringQueues moved = std::move(*queues);
    }
    auto last = UringQueues::create(4, {});
    REQUIRE(last);
    io_uring_rsrc_update place{};
    place.offset = ~0U;
    place.data = static_cast<unsigned>(last->fd());
    constexpr unsigned register_ring_fds = 20;
    const int answer = last->enroll(register_ring_fds, &place, 1);
    if (answer == -EINVAL) RINGLET_SKIP("this kernel registers no rings (Linux 5.18)");
    CHECK(answer == 1);
}
