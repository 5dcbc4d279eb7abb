#pragma once

#include <ringlet/detail/config.hpp>

#include <exception>
#include <source_location>
#include <string>
#include <system_error>

namespace RINGLET_EXPORT ringlet {

/// How a task failed: it returned an error, or threw.
struct TaskFailure {
    std::string task;                     ///< its name
    std::source_location spawned_at = {}; ///< its place: see `TaskName`
    std::error_code error = {};           ///< what it returned; zero when it threw
    std::exception_ptr exception = {};    ///< what it threw, or null

    /// One line: `task "reader" (main.cpp:30) ended with an error: Broken pipe`.
    [[nodiscard]] std::string to_string() const;
};

} // namespace ringlet
