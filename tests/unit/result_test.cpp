#include "support.hpp"

#include <memory>

using namespace ringlet;

TEST_CASE("Result holds a value") {
    Result<std::unique_ptr<int>> result(std::make_unique<int>(7));
    REQUIRE(result);
    CHECK(**result == 7);
    CHECK(!result.error());
    auto taken = std::move(result).value();
    CHECK(*taken == 7);
}

TEST_CASE("Result holds an error") {
    Result<int> result = std::errc::connection_reset;
    CHECK_FALSE(result);
    CHECK(result.error() == std::errc::connection_reset);
    CHECK_THROWS_AS(static_cast<void>(result.value()), std::system_error);
    CHECK(std::move(result).value_or(3) == 3);
}
