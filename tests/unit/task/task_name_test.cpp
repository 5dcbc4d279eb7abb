#include "support.hpp"

#include <ringlet/task_name.hpp>

#include <ringlet/event_loop.hpp>
#include <ringlet/group_options.hpp>
#include <ringlet/join_handle.hpp>
#include <ringlet/ready.hpp>
#include <ringlet/result.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/task.hpp>
#include <ringlet/task_failure.hpp>
#include <ringlet/task_group.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr unsigned line_of_fail = __LINE__ + 1;
Task<Result<void>> fail() { co_return std::make_error_code(std::errc::broken_pipe); }
Task<Result<void>> fail_when_ready(Ready<> ready) {
    ready();
    co_return std::make_error_code(std::errc::broken_pipe);
}

Task<> sleep_long() {
    auto slept = co_await sleep_for(1h);
    CHECK(!slept);
}

constexpr unsigned first_line_of_long = __LINE__ + 1;
Task<Result<void>> fail_after_a_while() {
    auto slept = co_await sleep_for(1ms);
    CHECK(slept);
    co_return std::make_error_code(std::errc::broken_pipe);
}
constexpr unsigned last_line_of_long = __LINE__ - 1;

struct Expected {
    std::string name;
    unsigned line;
};

void check(const std::vector<TaskFailure>& failures, const std::vector<Expected>& expected) {
    REQUIRE(failures.size() == expected.size());
    for (std::size_t i = 0; i < failures.size(); ++i) {
        CAPTURE(i);
        CHECK(failures[i].task == expected[i].name);
        CHECK(failures[i].spawned_at.line() == expected[i].line);
        CHECK(std::string(failures[i].spawned_at.file_name()).ends_with("task_name_test.cpp"));
    }
}

} // namespace

TEST_CASE("TaskName is a name and the place of the call, either, or those of the function") {
    std::vector<TaskFailure> failures;
    std::vector<Expected> expected;
    auto ran = testing::run_on_loop([&]() -> Task<> {
        const GroupOptions options{.on_failure = OnFailure::report, .failures = &failures};
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn("reader", fail);
            expected.push_back({"reader", __LINE__ - 1});
            group.spawn({}, fail);
            expected.push_back({"fail", __LINE__ - 1});
            group.spawn(fail);
            expected.push_back({"fail", line_of_fail});
            auto ready = co_await group.start("starter", fail_when_ready);
            expected.push_back({"starter", __LINE__ - 1});
            CHECK(ready);
        };
        auto done = co_await with_task_group(body, options);
        CHECK(done);
        auto bounded = [&](BoundedTaskGroup& group) -> Task<> {
            auto handle = co_await group.spawn("bounded", fail);
            expected.push_back({"bounded", __LINE__ - 1});
            CHECK(handle);
            auto placed = co_await group.spawn({}, fail);
            expected.push_back({"fail", __LINE__ - 1});
            CHECK(placed);
            CHECK(group.try_spawn({}, fail));
            expected.push_back({"fail", __LINE__ - 1});
            CHECK(group.try_spawn(fail));
            expected.push_back({"fail", line_of_fail});
        };
        done = co_await with_bounded_task_group(4, bounded, options);
        CHECK(done);
    });
    CHECK(ran);
    check(failures, expected);
}

TEST_CASE("TaskName of a function has a line of that function") {
    std::vector<TaskFailure> failures;
    auto ran = testing::run_on_loop([&]() -> Task<> {
        const GroupOptions options{.on_failure = OnFailure::report, .failures = &failures};
        auto body = [](TaskGroup& group) -> Task<> {
            group.spawn(fail_after_a_while);
            co_return;
        };
        auto done = co_await with_task_group(body, options);
        CHECK(done);
    });
    CHECK(ran);
    REQUIRE(failures.size() == 1);
    CHECK(failures[0].task == "fail_after_a_while");
    // clang says where it begins, g++ where it ends.
    CHECK(failures[0].spawned_at.line() >= first_line_of_long);
    CHECK(failures[0].spawned_at.line() <= last_line_of_long);
}

TEST_CASE("TaskName names the tasks of a loop") {
    auto loop = EventLoop::create();
    testing::require(loop);
    std::string dump;
    unsigned ran_at = 0;
    unsigned spawned_at = 0;
    const auto look = [&]() -> Task<> {
        loop->spawn("sleeper", sleep_long);
        spawned_at = __LINE__ - 1;
        auto slept = co_await sleep_for(1ms);
        CHECK(slept);
        dump = loop->dump();
    };
    CHECK(loop->run("root", look));
    ran_at = __LINE__ - 1;
    const auto place = [](unsigned line) {
        return "(task_name_test.cpp:" + std::to_string(line) + ")";
    };
    CHECK(dump.find("\"root\" " + place(ran_at)) != std::string::npos);
    CHECK(dump.find("\"sleeper\" " + place(spawned_at)) != std::string::npos);
}

TEST_CASE("TaskName comes before any number of arguments, or not") {
    int sum = 0;
    auto ran = testing::run_on_loop([&]() -> Task<> {
        const auto add = [&sum](int a, int b, int c, int d, int e, int f, int g, int h) -> Task<> {
            sum += a + b + c + d + e + f + g + h;
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(add, 1, 2, 3, 4, 5, 6, 7, 8);
            group.spawn("adder", add, 10, 20, 30, 40, 50, 60, 70, 80);
            co_return;
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
    });
    CHECK(ran);
    CHECK(sum == 36 + 360);
}

TEST_CASE("TaskName is what a text becomes, and a callable is not") {
    static_assert(!Unnamed<const char*> && !Unnamed<const char(&)[7]>);
    static_assert(Unnamed<Task<> (*)()> && Unnamed<std::string> && Unnamed<std::nullptr_t>);
    constexpr TaskName here("reader");
    CHECK(std::string(here.name()) == "reader");
    CHECK(here.spawned_at().line() == __LINE__ - 2);
    CHECK(TaskName::of_function().spawned_at().line() == 0);
}
