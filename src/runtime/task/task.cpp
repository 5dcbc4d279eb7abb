#include <ringlet/task.hpp>

#include <string>

namespace ringlet {

void ran_off_its_end(const std::source_location& coroutine) noexcept {
    std::string message("\""); // g++ 12 warns of a literal + a string
    message.append(short_task_name(coroutine.function_name()))
        .append("\" has run off its end: some way through it has no co_return, and it returns a "
                "value");
    assertion_failed("co_return", message.c_str(), coroutine.file_name(),
                     static_cast<int>(coroutine.line()));
}

} // namespace ringlet
