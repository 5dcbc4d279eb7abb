#include <ringlet/task_failure.hpp>

#include <ringlet/detail/task_record.hpp>

namespace ringlet {

std::string TaskFailure::to_string() const {
    std::string line = task_and_place(task, spawned_at) + " ended with an ";
    if (exception == nullptr) return line + "error: " + error.message();
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& thrown) {
        return line + "exception: " + thrown.what();
    } catch (...) {
        return line + "exception that is not a std::exception";
    }
}

} // namespace ringlet
