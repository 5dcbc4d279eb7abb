#include "ring/finished_list.hpp"

#include "support.hpp"

#include <array>

using namespace ringlet;

TEST_CASE("FinishedList hands over each completion once") {
    FinishedList finished;
    CHECK(finished.empty());
    CHECK(finished.hand_over().empty());
    std::array<Operation, 2> operations{};
    finished.add(operations[0], 7);
    finished.add(operations[1], -9);
    CHECK(finished.size() == 2);
    const auto given = finished.hand_over();
    REQUIRE(given.size() == 2);
    CHECK(given[0].operation == &operations[0]);
    CHECK(given[0].result == 7);
    CHECK(given[1].operation == &operations[1]);
    CHECK(given[1].result == -9);
    CHECK(finished.empty());
    CHECK(finished.hand_over().empty());
}

TEST_CASE("FinishedList hands over at most the limit at once, oldest first") {
    constexpr auto limit = static_cast<std::int32_t>(Ring::completions_per_wait_limit);
    FinishedList finished;
    Operation operation;
    for (std::int32_t i = 0; i < 2 * limit + 1; ++i) finished.add(operation, i);
    std::int32_t expected = 0;
    for (const std::int32_t count : {limit, limit, 1}) {
        const auto given = finished.hand_over();
        REQUIRE(static_cast<std::int32_t>(given.size()) == count);
        for (const Completion& completion : given) CHECK(completion.result == expected++);
    }
    CHECK(finished.empty());
}
