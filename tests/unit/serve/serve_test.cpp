#include <ringlet/serve.hpp>

#include <ringlet/error.hpp>

#include "echo.hpp"
#include "net.hpp"

#include <string>
#include <vector>

#include <sysexits.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

ServeOptions options_that_tell(std::vector<std::string>& lines) {
    ServeOptions options;
    options.listen = "127.0.0.1:0";
    options.handle_signals = false;
    options.loop.ring_entries = 64;
    options.loop.report = [&lines](std::string_view line) { lines.emplace_back(line); };
    return options;
}

} // namespace

TEST_CASE("serve on a port in use says what to do") {
    const UniqueFd taken = bound_socket(loopback(), 1);
    std::vector<std::string> lines;
    ServeOptions options = options_that_tell(lines);
    options.listen = address_of(taken.get()).to_string();
    auto report = serve(options, echo);
    CHECK(report.error() == std::errc::address_in_use);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find(options.listen) != std::string::npos);
    CHECK(lines[0].find("the port is in use") != std::string::npos);
    CHECK(exit_status(report) == EX_UNAVAILABLE);
}

TEST_CASE("serve at an impossible address says what to do") {
    std::vector<std::string> lines;
    ServeOptions options = options_that_tell(lines);
    options.listen = "nonsense";
    auto malformed = serve(options, echo);
    CHECK(malformed.error() == Errc::invalid_endpoint);
    CHECK(exit_status(malformed) == EX_USAGE);
    options.listen = "192.0.2.1:0"; // RFC 5737
    auto elsewhere = serve(options, echo);
    CHECK(elsewhere.error() == std::errc::address_not_available);
    CHECK(exit_status(elsewhere) == EX_UNAVAILABLE);
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].find("nonsense") != std::string::npos);
    CHECK(lines[1].find("no interface of this machine") != std::string::npos);
}

TEST_CASE("advice has a line for every error") {
    CHECK(
        advice("[::1]:80", std::make_error_code(std::errc::permission_denied)).find("below 1024") !=
        std::string::npos);
    const auto says = [](const char* listen, std::errc error, const char* words) {
        return advice(listen, std::make_error_code(error)).find(words) != std::string::npos;
    };
    CHECK(says("[::1]:21040", std::errc::permission_denied, "a security module forbids it"));
    CHECK_FALSE(says("[::1]:21040", std::errc::permission_denied, "below 1024"));
    CHECK(says("[fe80::1]:21040", std::errc::invalid_argument,
               "needs its interface, as fe80::1%eth0"));
    CHECK_FALSE(says("127.0.0.1:21040", std::errc::invalid_argument, "interface"));
    CHECK(says("127.0.0.1:80", std::errc::resource_unavailable_try_again, "ulimit -u"));
    CHECK(advice("127.0.0.1:80,unix:/nowhere/x,[::1]:80",
                 std::make_error_code(std::errc::no_such_file_or_directory))
              .starts_with("cannot listen on unix:/nowhere/x: "));
    CHECK(says("127.0.0.1:80,[::1]:80", std::errc::address_in_use, "on 127.0.0.1:80,[::1]:80: "));
    CHECK(advice("nowhere:80", Errc::unknown_host).find("nowhere:80") != std::string::npos);
    CHECK(advice("x", Errc::io_uring_disabled).find("io_uring_disabled") != std::string::npos);
    for (const auto error :
         {std::errc::address_in_use, std::errc::permission_denied, std::errc::address_not_available,
          std::errc::not_enough_memory, std::errc::operation_not_permitted}) {
        const std::string line = advice("127.0.0.1:3200", std::make_error_code(error));
        CHECK_FALSE(line.empty());
        CHECK(line.find('\n') == std::string::npos);
    }
}

TEST_CASE("exit statuses are those of sysexits") {
    CHECK(exit_status(std::error_code{}) == EX_OK);
    CHECK(exit_status(Errc::invalid_endpoint) == EX_USAGE);
    CHECK(exit_status(Errc::unknown_host) == EX_NOHOST);
    CHECK(exit_status(std::make_error_code(std::errc::address_in_use)) == EX_UNAVAILABLE);
    CHECK(exit_status(std::make_error_code(std::errc::connection_refused)) == EX_UNAVAILABLE);
    for (const Errc code :
         {Errc::io_uring_disabled, Errc::io_uring_forbidden, Errc::io_uring_missing,
          Errc::io_uring_unsupported, Errc::io_uring_locked_memory, Errc::io_uring_too_old}) {
        CHECK(exit_status(code) == EX_UNAVAILABLE);
    }
    CHECK(exit_status(std::make_error_code(std::errc::permission_denied)) == EX_NOPERM);
    CHECK(exit_status(std::make_error_code(std::errc::operation_not_permitted)) == EX_NOPERM);
    CHECK(exit_status(std::make_error_code(std::errc::too_many_files_open)) == EX_OSERR);
    const Result<int> good = 3;
    CHECK(exit_status(good) == EX_OK);
}
