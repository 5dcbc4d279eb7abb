#include "support.hpp"

#include <ringlet/detail/ring.hpp>

#include <memory>
#include <vector>

using namespace ringlet;

namespace {

// The smallest ring: every operation has finished by the next wait.
class InstantRing final : public Ring {
public:
    explicit InstantRing(bool& destroyed) : destroyed_(destroyed) {}
    ~InstantRing() override { destroyed_ = true; }

    void start(Operation& operation) override {
        ++stats_.submissions;
        waiting_.push_back({.operation = &operation, .result = 1});
    }
    void cancel(Operation& operation) override {
        for (auto& completion : waiting_) {
            if (completion.operation == &operation) completion.result = -ECANCELED;
        }
    }
    std::span<const Completion> wait(std::optional<Clock::time_point> /*deadline*/) override {
        ++stats_.system_calls;
        handed_over_ = std::exchange(waiting_, {});
        stats_.completions += handed_over_.size();
        return handed_over_;
    }
    void close(Descriptor descriptor) noexcept override { UniqueFd(descriptor.fd()).reset(); }
    RingStats stats() const noexcept override { return stats_; }

private:
    std::vector<Completion> waiting_;
    std::vector<Completion> handed_over_;
    RingStats stats_;
    bool& destroyed_;
};

} // namespace

static_assert(std::is_abstract_v<Ring> && std::has_virtual_destructor_v<Ring>);
static_assert(!std::is_copy_constructible_v<Ring> && !std::is_move_constructible_v<Ring>,
              "the kernel knows where a ring is");
static_assert(Ring::completions_per_wait_limit > 0);

TEST_CASE("Ring is used and destroyed through its interface") {
    bool destroyed = false;
    std::unique_ptr<Ring> ring = std::make_unique<InstantRing>(destroyed);
    Operation first;
    Operation second;
    ring->start(first);
    ring->start(second);
    ring->cancel(second);
    const auto completions = ring->wait(std::nullopt);
    REQUIRE(completions.size() == 2);
    CHECK(completions[0].operation == &first);
    CHECK(completions[0].result == 1);
    CHECK(completions[1].operation == &second);
    CHECK(completions[1].result == -ECANCELED);
    CHECK(ring->wait(std::nullopt).empty());
    CHECK(ring->stats().completions == 2);
    CHECK(ring->stats().submissions == 2);
    CHECK(ring->stats().system_calls == 2);
    ring.reset();
    CHECK(destroyed);
}

TEST_CASE("Ring statistics start at zero") {
    const RingStats stats;
    CHECK(stats.system_calls == 0);
    CHECK(stats.submissions == 0);
    CHECK(stats.completions == 0);
    CHECK(stats.full_queue_flushes == 0);
    const Completion completion;
    CHECK(completion.operation == nullptr);
    CHECK(completion.result == 0);
}
