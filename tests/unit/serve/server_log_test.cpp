#include "serve/server_log.hpp"

#include "serving_thread.hpp"

#include <ringlet/serve.hpp>
#include <ringlet/workers.hpp>

#include <algorithm>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

Task<Result<void>> fail_as_told(TcpStream stream) {
    auto chunk = co_await stream.recv();
    if (!chunk) co_return chunk.error();
    if (chunk->text() == "throw") throw std::runtime_error("boom");
    co_return std::errc::bad_message;
}

struct LogLines {
    std::vector<std::string> lines;

    LogOptions options(LogLevel level) {
        return {
            .level = level, .format = LogFormat::logfmt, .write = [this](std::string_view line) {
                lines.emplace_back(line.substr(line.find("level=")));
            }};
    }
    [[nodiscard]] std::size_t count(std::string_view level, std::string_view part) const {
        return static_cast<std::size_t>(std::ranges::count_if(lines, [&](const std::string& line) {
            return line.starts_with(std::string("level=").append(level).append(" ")) &&
                   line.find(part) != line.npos;
        }));
    }
};

template <class Service>
LogLines lines_of_failures(bool reports_errors) {
    LogLines told;
    ServeOptions options = quiet_options();
    options.workers = 2;
    options.report_errors = reports_errors;
    options.log = std::make_shared<Log>(told.options(LogLevel::info));
    ServingThread<Service> server(options, fail_as_told);
    for (const char* text : {"fail", "throw"}) {
        const UniqueFd client = connect_to(server.address());
        REQUIRE(write_all(client.get(), text));
        CHECK(is_ended(client.get()));
    }
    server.stop();
    CHECK(server.finish().failed_count == 2);
    return told;
}

template <class Service>
void check_failures() {
    const LogLines quiet = lines_of_failures<Service>(false);
    CHECK(quiet.count("info", "fail_as_told") == 1);
    CHECK(quiet.count("warning", "boom") == 1);
    CHECK(quiet.count("notice", "message=listening address=127.0.0.1:") == 1);
    CHECK(quiet.count("notice", "served=2 failed=2 cancelled=0") == 1);
    CHECK(quiet.lines.size() == 5); // the last: it stops
    const LogLines reporting = lines_of_failures<Service>(true);
    CHECK(reporting.count("info", "") == 0);
    CHECK(reporting.count("warning", "fail_as_told") == 2);
}

} // namespace

TEST_CASE("failed handlers are logged by one worker and by several") {
    check_failures<Server>();
    check_failures<Workers>();
}

TEST_CASE("a report hook keeps its lines, and without one the log gets them") {
    LogLines told;
    std::vector<std::string> reported;
    ServeOptions options;
    report_to_log(options);
    CHECK(!options.loop.report); // no log yet
    options.log = std::make_shared<Log>(told.options(LogLevel::warning));
    options.loop.report = [&](std::string_view line) { reported.emplace_back(line); };
    report_to_log(options);
    report_to(options.loop, "to the hook");
    options.loop.report = nullptr;
    report_to_log(options);
    report_to(options.loop, "to the log");
    CHECK(reported == std::vector<std::string>{"to the hook"});
    CHECK(told.lines == std::vector<std::string>{"level=warning message=\"to the log\"\n"});
}

TEST_CASE("without a log a worker logs nothing") {
    WorkerLog log(nullptr, 0);
    CHECK(log.get() == nullptr);
    CHECK(!log.takes_connections());
    log.waits_for_room(1);
    CHECK(!log.has_told_of_limit());
    log.has_room(1);
    log.accepting_failed(std::make_error_code(std::errc::bad_file_descriptor));
    log.handler_failed("a line");
    log_start(nullptr, {}, ServeOptions(), BackendChoice());
    log_stop(nullptr, 1);
    log_end(nullptr, ServeReport());
}

TEST_CASE("the connection limit is logged once, and its end when several places are free") {
    LogLines told;
    WorkerLog log(std::make_shared<Log>(told.options(LogLevel::notice)), 3);
    log.waits_for_room(64);
    log.waits_for_room(64);
    CHECK(told.lines.size() == 1);
    CHECK(told.count("notice", "limit=64 worker=3") == 1);
    log.has_room(4);
    CHECK(told.lines.size() == 1);
    log.has_room(5);
    log.has_room(6);
    CHECK(told.lines.size() == 2);
    CHECK(told.count("notice", "message=\"below the limit of connections again\" at_limit_ms=") ==
          1);
    log.waits_for_room(64);
    CHECK(told.lines.size() == 3);
}

TEST_CASE("a pause is logged once, and its end only after accepting was calm for a while") {
    LogLines told;
    WorkerLog log(std::make_shared<Log>(told.options(LogLevel::notice)), 0);
    CHECK(log.pauses("accepting pauses: no descriptors"));
    CHECK(!log.pauses("accepting pauses: no descriptors"));
    CHECK(!log.goes_on());
    CHECK(told.lines.size() == 1);
}
