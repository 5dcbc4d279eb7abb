// main() of the unit tests. Prints a line for each case, which tests/support/summary.py counts:
//     ::case passed|failed NAME
//     ::case skipped NAME :: REASON
// A case that hangs ends with a message that says what it was waiting for. Each thing that it names restarts its
// time limit: a case that makes progress does not hang.

#define DOCTEST_CONFIG_IMPLEMENT
#include "support.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

namespace {

constexpr unsigned case_limit_seconds = 300; // since it last named something
constexpr int skip_status = 77;
unsigned skipped_count = 0;
const char* skip_reason = nullptr; // of the running case
unsigned run_count = 0;
bool has_run = false;               // and not just listed cases
std::atomic<pid_t> case_runs_in{0}; // not in a child, which has its own limits
const char* volatile current_case = "";
const char* volatile awaited = "nothing that the test has named (testing::waiting_for)";

void print(const char* text) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text));
}

void on_alarm(int) {
    print("\nThis test hangs: ");
    print(current_case);
    print("\n  it was waiting for: ");
    print(awaited);
    print("\n");
    ::abort();
}

struct Watchdog : doctest::IReporter {
    explicit Watchdog(const doctest::ContextOptions&) {}
    void test_case_start(const doctest::TestCaseData& data) override {
        current_case = data.m_name;
        skip_reason = nullptr;
        case_runs_in = ::getpid();
        ::alarm(case_limit_seconds);
    }
    void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
        case_runs_in = 0;
        ::alarm(0);
        const char* status = stats.failure_flags != 0 ? "failed" : "passed";
        if (stats.failure_flags == 0 && skip_reason != nullptr) {
            std::printf("::case skipped %s :: %s\n", current_case, skip_reason);
        } else {
            std::printf("::case %s %s\n", status, current_case);
        }
        std::fflush(stdout);
    }
    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats& stats) override {
        run_count = stats.numTestCasesPassingFilters;
        has_run = true;
    }
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("watchdog", 1, Watchdog);

} // namespace

namespace ringlet::testing {

void skipped(const char* reason) {
    skip_reason = reason;
    ++skipped_count;
}

std::uint64_t seeds(std::uint64_t count) {
    const char* full = std::getenv("RINGLET_FULL");
    const bool all = !sanitizer_runs || (full != nullptr && *full != '\0');
    return all ? count : (count + 4) / 5;
}

void waiting_for(const char* what) {
    awaited = what;
    if (case_runs_in == ::getpid()) ::alarm(case_limit_seconds);
}

} // namespace ringlet::testing

int main(int argc, char** argv) {
    std::signal(SIGALRM, on_alarm);
    doctest::Context context(argc, argv);
    const int status = context.run();
    if (has_run && run_count == 0) {
        std::puts("no case matches the filters: nothing was tested");
        return 1;
    }
    return status == 0 && skipped_count > 0 && skipped_count == run_count ? skip_status : status;
}
