// The blocks that io_uring chooses from, on a real ring.

#include "ring/uring/provided_buffers.hpp"

#include "net.hpp"
#include "ring/uring/uring_ring.hpp"

#include <cerrno>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

constexpr auto no_provided =
    "this kernel has no provided buffers (Linux 5.19), or refuses io_uring";
constexpr std::size_t much_room = std::numeric_limits<std::size_t>::max();
constexpr std::size_t first_count = 16;

struct Provided {
    Provided() {
        auto made = UringQueues::create(64, {});
        if (!made) return;
        queues.emplace(std::move(*made));
        buffers = ProvidedBuffers::create(*queues);
    }

    void start_receive(int fd) {
        io_uring_sqe* entry = queues->next_entry();
        io_uring_prep_rw(IORING_OP_RECV, entry, fd, nullptr, 0, 0);
        io_uring_sqe_set_data(entry, nullptr);
        ProvidedBuffers::prepare(*entry);
    }

    // Waits for the result of one receive; its block is in `block`.
    int answer() {
        waiting_for("an answer to a receive");
        queues->enter(UringQueues::Patience::wait);
        int result = 0;
        block = nullptr;
        queues->take(1, [&](const io_uring_cqe& entry) {
            result = entry.res;
            if ((entry.flags & IORING_CQE_F_BUFFER) != 0) block = buffers->take(entry);
        });
        return result;
    }

    int receive(int fd) {
        start_receive(fd);
        return answer();
    }

    std::optional<UringQueues> queues;
    std::unique_ptr<ProvidedBuffers> buffers;
    std::byte* block = nullptr;
};

} // namespace

TEST_CASE("ProvidedBuffers: provided blocks do not count as lent, and all come back at the end") {
    const auto before = Buffer::lent_count();
    {
        Provided provided;
        if (!provided.buffers) RINGLET_SKIP(no_provided);
        ProvidedBuffers& buffers = *provided.buffers;
        CHECK(buffers.count() == 0);
        buffers.refill(much_room);
        CHECK(buffers.count() == first_count);
        CHECK(Buffer::lent_count() == before);
        buffers.refill(much_room); // nothing is missing
        CHECK(buffers.count() == first_count);
    }
    CHECK(Buffer::lent_count() == before);
}

TEST_CASE("ProvidedBuffers never provides more than there is room for") {
    Provided provided;
    if (!provided.buffers) RINGLET_SKIP(no_provided);
    ProvidedBuffers& buffers = *provided.buffers;
    for (const std::size_t room : {0U, 3U, 2U, 3U, 4U, 0U}) {
        CAPTURE(room);
        const std::size_t before = buffers.count();
        buffers.refill(room);
        // Blocks already provided stay, even if there is less room.
        CHECK(buffers.count() == std::max(before, room));
    }
}

TEST_CASE("ProvidedBuffers doubles up to its limit") {
    const auto before = Buffer::lent_count();
    {
        Provided provided;
        if (!provided.buffers) RINGLET_SKIP(no_provided);
        ProvidedBuffers& buffers = *provided.buffers;
        for (std::size_t wanted = first_count; wanted <= ProvidedBuffers::count_limit;
             wanted *= 2) {
            buffers.refill(much_room);
            CHECK(buffers.count() == wanted);
            buffers.grow();
            CHECK(buffers.count() == wanted); // from the next refill on
        }
        buffers.refill(much_room);
        CHECK(buffers.count() == ProvidedBuffers::count_limit);
        CHECK(Buffer::lent_count() == before);
    }
    CHECK(Buffer::lent_count() == before);
}

TEST_CASE("ProvidedBuffers: the kernel fills the block that it takes") {
    const auto before = Buffer::lent_count();
    Provided provided;
    if (!provided.buffers) RINGLET_SKIP(no_provided);
    const FdPair pair = socket_pair();
    const auto sent = pattern(10 * Buffer::capacity_bytes);
    std::vector<Buffer> taken;
    // More rounds than blocks: their ids are reused for other blocks.
    for (std::size_t round = 0; round < 10 * first_count; ++round) {
        CAPTURE(round);
        provided.buffers->refill(much_room);
        const std::size_t size = 1 + round % 7 * 1000;
        const auto piece = std::span(sent).subspan(round, size);
        REQUIRE(write_all(pair.second.get(), piece));
        REQUIRE(provided.receive(pair.first.get()) == static_cast<int>(size));
        REQUIRE(provided.block != nullptr);
        taken.emplace_back(provided.block, size);
        CHECK(provided.buffers->count() == first_count - 1);
        CHECK(Buffer::lent_count() - before == taken.size());
    }
    for (std::size_t round = 0; round < taken.size(); ++round) {
        const auto piece = std::span(sent).subspan(round, taken[round].size());
        const bool same = std::equal(piece.begin(), piece.end(), taken[round].begin());
        CHECK(same);
    }
    // A receive takes what fits, and leaves the rest.
    REQUIRE(write_all(pair.second.get(), std::span(sent).first(Buffer::capacity_bytes + 1)));
    CHECK(provided.receive(pair.first.get()) == Buffer::capacity_bytes);
    taken.emplace_back(provided.block, 1);
    CHECK(provided.receive(pair.first.get()) == 1);
    taken.emplace_back(provided.block, 1);
    // The blocks outlive the ring.
    provided.buffers.reset();
    provided.queues.reset();
    CHECK(Buffer::lent_count() - before == taken.size());
    taken.clear();
    CHECK(Buffer::lent_count() == before);
}

TEST_CASE("ProvidedBuffers: a receive without a block fails, and its bytes stay for the next one") {
    Provided provided;
    if (!provided.buffers) RINGLET_SKIP(no_provided);
    const FdPair pair = socket_pair();
    REQUIRE(write_all(pair.second.get(), "x"));
    CHECK(provided.receive(pair.first.get()) == -ENOBUFS);
    CHECK(provided.block == nullptr);
    provided.buffers->refill(1);
    CHECK(provided.receive(pair.first.get()) == 1);
    REQUIRE(provided.block != nullptr);
    const Buffer got(provided.block, 1);
    CHECK(text_of(got) == "x");
    CHECK(provided.receive(pair.first.get()) == -ENOBUFS);
}

TEST_CASE("ProvidedBuffers: a waiting receive takes its block when data arrives") {
    const auto before = Buffer::lent_count();
    Provided provided;
    if (!provided.buffers) RINGLET_SKIP(no_provided);
    provided.buffers->refill(1);
    const FdPair idle = socket_pair();
    const FdPair busy = socket_pair();
    provided.start_receive(idle.first.get());
    provided.queues->enter(UringQueues::Patience::look);
    CHECK_FALSE(provided.queues->has_completions());
    CHECK(Buffer::lent_count() == before);
    REQUIRE(write_all(busy.second.get(), "busy"));
    CHECK(provided.receive(busy.first.get()) == 4); // the only block, although it came second
    BufferPool::give_back(provided.block);
    provided.buffers->refill(1);
    REQUIRE(write_all(idle.second.get(), "idle no more"));
    CHECK(provided.answer() == 12);
    BufferPool::give_back(provided.block);
}

// ---- in a ring ----------------------------------------------------------------------------------

TEST_CASE("UringRing: at the buffer limit a receive cancelled at once ends once, as cancelled") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    for (const bool provided_buffers : {true, false}) {
        CAPTURE(provided_buffers);
        const RingFeatures features{.provided_buffers = provided_buffers};
        auto ring = make_uring_ring({.features = features, .buffer_limit = 0});
        REQUIRE(ring);
        const FdPair pair = socket_pair();
        REQUIRE(write_all(pair.second.get(), "x"));
        Operation receive;
        receive.configure(Opcode::recv_buffer, pair.first.get(), nullptr, Buffer::capacity_bytes);
        receive.state = Operation::State::in_flight;
        (*ring)->start(receive);
        receive.cancel_requested = true; // as the loop does
        (*ring)->cancel(receive);
        std::vector<int> results;
        for (int look = 0; look < 5; ++look) {
            for (const Completion& completion : (*ring)->wait(Clock::time_point::min())) {
                results.push_back(completion.result);
            }
        }
        CHECK(results == std::vector<int>{-ECANCELED});
    }
}
