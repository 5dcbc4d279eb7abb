#include <ringlet/detail/spawned_task.hpp>

#include "net.hpp"

using namespace ringlet;

TEST_CASE("SpawnedTask drops callable and arguments on request, and keeps the outcome") {
    int alive = 0;
    const auto fn = [](testing::Counted) -> Task<int> { co_return 5; };
    using Record = SpawnedTask<int, std::remove_const_t<decltype(fn)>, testing::Counted>;
    auto* record = new Record("five", fn, testing::Counted(alive));
    CHECK(record->short_name() == "five");
    CHECK(alive > 0);
    record->drop_arguments();
    CHECK_FALSE(record->has_run());
    auto outcome = record->take_outcome();
    CHECK(outcome.error() == std::errc::operation_canceled);
    record->release_reference();
    CHECK(alive == 0);
}
