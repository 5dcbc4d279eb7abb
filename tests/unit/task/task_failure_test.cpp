#include "support.hpp"

#include <ringlet/task_failure.hpp>

#include <exception>
#include <source_location>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using namespace ringlet;

namespace {

std::string line_of(std::error_code error, std::exception_ptr exception) {
    const TaskFailure failure{.task = "reader",
                              .spawned_at = std::source_location::current(),
                              .error = error,
                              .exception = std::move(exception)};
    return failure.to_string();
}

} // namespace

TEST_CASE("a failure names the task, the place and the error") {
    const auto line = line_of(std::make_error_code(std::errc::broken_pipe), nullptr);
    CHECK(line.starts_with("task \"reader\" (task_failure_test.cpp:"));
    CHECK(line.ends_with(") ended with an error: Broken pipe"));
}

TEST_CASE("a failure shows what was thrown") {
    const auto line = line_of({}, std::make_exception_ptr(std::runtime_error("burst")));
    CHECK(line.ends_with(") ended with an exception: burst"));
    const auto strange = line_of({}, std::make_exception_ptr(7));
    CHECK(strange.ends_with(") ended with an exception that is not a std::exception"));
}
