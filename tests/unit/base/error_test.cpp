#include "support.hpp"

#include <ringlet/error.hpp>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

const std::vector<Errc> every_error = {
    Errc::end_of_stream,    Errc::message_truncated,    Errc::invalid_endpoint,
    Errc::unknown_host,     Errc::io_uring_disabled,    Errc::io_uring_forbidden,
    Errc::io_uring_missing, Errc::io_uring_unsupported, Errc::io_uring_locked_memory,
    Errc::io_uring_too_old, Errc::would_block_forever,  Errc::channel_closed,
    Errc::unknown_backend,  Errc::unknown_feature,      Errc::task_not_ready,
    Errc::message_too_long, Errc::connected_to_itself,  Errc::invalid_range,
    Errc::no_given_socket,  Errc::not_listening,        Errc::metrics_unavailable,
    Errc::hand_over_busy,   Errc::handed_over,          Errc::hand_over_unavailable,
};

} // namespace

TEST_CASE("error messages exist and differ") {
    std::set<std::string> messages;
    for (const Errc error : every_error) {
        const auto message = make_error_code(error).message();
        CHECK(message.size() > 10);
        CHECK_MESSAGE(message.find("unknown ringlet error") == std::string::npos, message);
        CHECK_MESSAGE(messages.insert(message).second, "twice: ", message);
    }
}

TEST_CASE("error values are all in the list and none is zero") {
    for (const Errc error : every_error) CHECK(static_cast<int>(error) != 0);
    // The first number after the last error: a new error must be added to the list above.
    const int next = static_cast<int>(every_error.back()) + 1;
    const std::error_code unknown(next, error_category());
    CHECK(unknown.message() == "unknown ringlet error " + std::to_string(next));
    CHECK(static_cast<int>(every_error.size()) + 1 == next);
}

TEST_CASE("error codes belong to the ringlet category") {
    const std::error_code code = Errc::end_of_stream;
    CHECK(&code.category() == &error_category());
    CHECK(std::string(code.category().name()) == "ringlet");
    CHECK(code == Errc::end_of_stream);
    CHECK(code != Errc::message_truncated);
    CHECK(code != std::error_code(1, std::generic_category()));
}

TEST_CASE("error codes map to a standard condition where one fits") {
    struct Row {
        Errc error;
        std::errc condition;
    };
    const std::vector<Row> rows = {
        {Errc::invalid_endpoint, std::errc::invalid_argument},
        {Errc::invalid_range, std::errc::invalid_argument},
        {Errc::io_uring_disabled, std::errc::operation_not_permitted},
        {Errc::io_uring_forbidden, std::errc::operation_not_permitted},
        {Errc::io_uring_missing, std::errc::function_not_supported},
        {Errc::io_uring_too_old, std::errc::function_not_supported},
        {Errc::io_uring_unsupported, std::errc::operation_not_supported},
        {Errc::io_uring_locked_memory, std::errc::not_enough_memory},
    };
    for (const auto& [error, condition] : rows) {
        CHECK_MESSAGE(make_error_code(error) == condition, make_error_code(error).message());
    }
    for (const Errc error : {Errc::end_of_stream, Errc::message_truncated, Errc::unknown_host}) {
        const auto condition = make_error_code(error).default_error_condition();
        CHECK(&condition.category() == &error_category());
        CHECK(condition.value() == static_cast<int>(error));
    }
}

TEST_CASE("error messages of io_uring say what to change") {
    struct Row {
        Errc error;
        const char* advice;
    };
    const std::vector<Row> rows = {
        {Errc::io_uring_disabled, "kernel.io_uring_disabled=0"},
        {Errc::io_uring_forbidden, "seccomp"},
        {Errc::io_uring_missing, "5.11"},
        {Errc::io_uring_locked_memory, "ulimit -l"},
        {Errc::io_uring_too_old, "5.11"},
        {Errc::invalid_endpoint, "HOST:PORT"},
    };
    for (const auto& [error, advice] : rows) {
        const auto message = make_error_code(error).message();
        CHECK_MESSAGE(message.find(advice) != std::string::npos, message);
    }
}

TEST_CASE("error from errno equals the matching std::errc") {
    CHECK(error_from_errno(ECONNRESET) == std::errc::connection_reset);
    CHECK(error_from_errno(ECANCELED) == std::errc::operation_canceled);
    CHECK(error_from_errno(ETIMEDOUT) == std::errc::timed_out);
    CHECK(error_from_errno(EMFILE) == std::errc::too_many_files_open);
    CHECK(error_from_errno(ECONNRESET).value() == ECONNRESET);
    CHECK(!error_from_errno(0));
}
