#include "death.hpp"

#include <ringlet/result.hpp>

#include <memory>
#include <string>

using namespace ringlet;

namespace {

// Counts its living objects.
struct CountedNumber {
    static inline int living = 0;
    explicit CountedNumber(int value) : number(value) { ++living; }
    CountedNumber(const CountedNumber& other) noexcept : number(other.number) { ++living; }
    CountedNumber(CountedNumber&& other) noexcept : number(std::exchange(other.number, 0)) {
        ++living;
    }
    CountedNumber& operator=(const CountedNumber&) = delete;
    ~CountedNumber() { --living; }
    int number;
};

struct Immovable {
    Immovable(int left, int right) : sum(left + right) {}
    Immovable(const Immovable&) = delete;
    Immovable& operator=(const Immovable&) = delete;
    int sum;
};

Result<int> halve(int number) {
    if (number % 2 != 0) return std::errc::invalid_argument;
    return number / 2;
}

Result<void> succeed_or(bool fails) {
    if (fails) return std::errc::broken_pipe;
    return {};
}

} // namespace

static_assert(std::is_copy_constructible_v<Result<int>>);
static_assert(!std::is_copy_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(std::is_nothrow_move_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(!std::is_move_constructible_v<Result<Immovable>>);
static_assert(!std::is_convertible_v<Result<int>, bool>, "only where a bool is meant");
static_assert(!std::is_convertible_v<Result<void>, bool>);
static_assert(is_result_v<Result<int>> && is_result_v<Result<void>> && !is_result_v<int>);

TEST_CASE("Result holds a value") {
    Result<std::unique_ptr<int>> result(std::make_unique<int>(7));
    REQUIRE(result);
    CHECK(result.has_value());
    CHECK(**result == 7);
    CHECK(!result.error());
    auto taken = std::move(result).value();
    CHECK(*taken == 7);
}

TEST_CASE("Result holds an error") {
    Result<int> result = std::errc::connection_reset;
    CHECK_FALSE(result);
    CHECK_FALSE(result.has_value());
    CHECK(result.error() == std::errc::connection_reset);
    CHECK_THROWS_AS(static_cast<void>(result.value()), std::system_error);
    CHECK(std::move(result).value_or(3) == 3);
}

TEST_CASE("Result is made from a value or a condition or an Errc or an error_code") {
    const auto four = halve(8);
    REQUIRE(four);
    CHECK(*four == 4);
    CHECK(halve(7).error() == std::errc::invalid_argument);

    const Result<std::string> from_literal = "converted";
    REQUIRE(from_literal);
    CHECK(*from_literal == "converted");
    const Result<int> from_own_error = Errc::unknown_host;
    CHECK(from_own_error.error() == Errc::unknown_host);
    const Result<int> from_code = error_from_errno(EPIPE);
    CHECK(from_code.error() == std::errc::broken_pipe);
}

TEST_CASE("Result throws the error that it holds") {
    Result<int> result = Errc::end_of_stream;
    try {
        static_cast<void>(result.value());
        FAIL("value() of an error returned");
    } catch (const std::system_error& thrown) {
        CHECK(thrown.code() == Errc::end_of_stream);
    }
    CHECK(std::move(result).value_or(5) == 5);
    CHECK(halve(10).value_or(9) == 5);
}

TEST_CASE("Result gives access to its value and its members") {
    Result<std::string> result = std::string("abc");
    REQUIRE(result);
    CHECK(result->size() == 3);
    *result += "d";
    result.value() += "e";
    CHECK(*result == "abcde");
    const std::string moved = *std::move(result);
    CHECK(moved == "abcde");
}

TEST_CASE("Result builds an immovable value in place") {
    const Result<Immovable> result(std::in_place, 2, 3);
    REQUIRE(result);
    CHECK(result->sum == 5);
}

TEST_CASE("Result destroys what it holds exactly once") {
    CountedNumber::living = 0;
    {
        Result<CountedNumber> first(CountedNumber(1));
        Result<CountedNumber> copy = first;
        Result<CountedNumber> moved = std::move(first);
        CHECK(CountedNumber::living == 3);
        CHECK(copy->number == 1);
        CHECK(moved->number == 1);

        moved = Result<CountedNumber>(std::errc::timed_out);
        CHECK(CountedNumber::living == 2);
        CHECK(moved.error() == std::errc::timed_out);
        moved = Result<CountedNumber>(CountedNumber(9));
        CHECK(CountedNumber::living == 3);
        CHECK(moved->number == 9);
        moved = Result<CountedNumber>(CountedNumber(10));
        CHECK(CountedNumber::living == 3);
        CHECK(moved->number == 10);
        const Result<CountedNumber> error_copy = Result<CountedNumber>(std::errc::timed_out);
        const Result<CountedNumber> copied_error = error_copy; // NOLINT: the copy is the point
        CHECK(copied_error.error() == std::errc::timed_out);
        CHECK(CountedNumber::living == 3);
    }
    CHECK(CountedNumber::living == 0);
}

TEST_CASE("Result of void holds success or an error") {
    const auto success = succeed_or(false);
    CHECK(success);
    CHECK(success.has_value());
    CHECK(!success.error());
    success.value();

    const auto failure = succeed_or(true);
    CHECK_FALSE(failure);
    CHECK(failure.error() == std::errc::broken_pipe);
    CHECK_THROWS_AS(failure.value(), std::system_error);
    const Result<void> own = Errc::message_truncated;
    CHECK(own.error() == Errc::message_truncated);
}

TEST_CASE("Result refuses an error code that means success") {
    testing::check_aborts("error_code that says success",
                          [] { static_cast<void>(Result<int>(std::error_code())); });
    testing::check_aborts("error_code that says success",
                          [] { static_cast<void>(Result<void>(std::error_code())); });
}

TEST_CASE("Result aborts if the value of an error is used") {
    testing::check_aborts("holds an error was used", [] {
        Result<int> result = std::errc::io_error;
        return *result;
    });
    testing::check_aborts("holds an error was used", [] {
        const Result<std::string> result = std::errc::io_error;
        return static_cast<int>(result->size());
    });
    testing::check_aborts("holds an error was used",
                          [] { return *Result<int>(std::errc::io_error); });
}
