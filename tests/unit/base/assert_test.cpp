#include "death.hpp"

using namespace ringlet;

namespace {

constexpr int checked_half(int number) {
    RINGLET_ASSERT(number % 2 == 0, "only even numbers have a half");
    return number / 2;
}

} // namespace

static_assert(checked_half(8) == 4, "usable where constants are computed");

TEST_CASE("assert evaluates its condition once and says nothing when it holds") {
    int evaluations = 0;
    RINGLET_ASSERT(++evaluations > 0, "cannot happen");
    CHECK(evaluations == 1);

    const auto outcome =
        testing::run_in_child([] { RINGLET_ASSERT(checked_half(2) == 1, "cannot happen"); });
    CHECK(outcome.succeeded());
    CHECK(outcome.error_output.empty());
}

TEST_CASE("assert aborts with the message and the condition and the place") {
    const auto outcome = testing::run_in_child([] {
        const int answer = 41;
        RINGLET_ASSERT(answer == 42, "the answer is not what was asked for");
    });
    CHECK(outcome.signal == SIGABRT);
    for (const auto* part :
         {"ringlet: the answer is not what was asked for\n", "answer == 42", "assert_test.cpp:"}) {
        CHECK_MESSAGE(outcome.error_output.find(part) != std::string::npos, outcome.error_output);
    }
}

TEST_CASE("assert does not return when it fails") {
    testing::check_aborts("stop here", [] {
        RINGLET_ASSERT(false, "stop here");
        ::_exit(0);
    });
}

TEST_CASE("a death test kills a child that hangs") {
    const auto outcome = testing::run_in_child(
        [] {
            for (;;) ::pause();
        },
        1);
    CHECK(outcome.signal == SIGALRM);
}
