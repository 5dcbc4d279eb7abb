#include "support.hpp"

#include <ringlet/detail/spawned_task.hpp>
#include <ringlet/detail/task_record.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

// Counts its living objects.
struct Counted {
    static inline int living = 0;
    int number = 0;
    explicit Counted(int value) : number(value) { ++living; }
    Counted(Counted&& other) noexcept : number(std::exchange(other.number, 0)) { ++living; }
    Counted(const Counted& other) : number(other.number) { ++living; }
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --living; }
};

template <class... Args>
auto make_record(auto fn, Args... args) {
    using Returned = std::invoke_result_t<decltype(fn)&, Args...>;
    return std::make_unique<SpawnedTask<typename Returned::value_type, decltype(fn), Args...>>(
        TaskName(), std::move(fn), std::move(args)...);
}

// The reports of a loop whose task spawns `fn`.
template <class Fn>
std::vector<std::string> reports_of(Fn fn) {
    std::vector<std::string> lines;
    LoopOptions options;
    options.report = [&lines](std::string_view line) { lines.emplace_back(line); };
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    const auto root = [](EventLoop* owner, Fn child) -> Task<> {
        owner->spawn(child);
        for (int i = 0; i < 3; ++i) {
            const auto turned = co_await yield();
            if (!turned) co_return;
        }
    };
    const auto ran = loop->run(root, &*loop, fn);
    CHECK(ran);
    return lines;
}

} // namespace

TEST_CASE("TaskRecord that never starts frees callable and arguments and frame") {
    Counted::living = 0;
    {
        const auto record = make_record(
            [kept = Counted(1)](Counted argument) -> Task<int> {
                co_return kept.number + argument.number;
            },
            Counted(2));
        CHECK_FALSE(record->has_run());
        CHECK(Counted::living > 0);
        CHECK(record->waiter != nullptr);
    }
    CHECK(Counted::living == 0);
}

TEST_CASE("TaskRecord destroys a waiting frame and is done then") {
    Counted::living = 0;
    const auto record = make_record(
        [](Counted argument) -> Task<int> {
            co_await std::suspend_always();
            co_return argument.number;
        },
        Counted(2));
    record->waiter.resume();
    CHECK_FALSE(record->has_run());
    CHECK(Counted::living == 2); // the moved-from one in the record, and the coroutine's
    record->destroy_frame();
    CHECK(Counted::living == 1);
    record->drop_arguments();
    CHECK(Counted::living == 0);
    const auto result = record->take_outcome();
    CHECK_FALSE(result);
    CHECK(result.error() == std::errc::operation_canceled);
}

TEST_CASE("TaskRecord keeps captures for as long as the coroutine refers to them") {
    Counted::living = 0;
    const auto run = [](Counted kept) {
        return testing::run_on_loop([kept = std::move(kept)]() -> Task<int> {
            const auto turned = co_await yield();
            co_return turned ? kept.number : -1;
        });
    };
    const auto result = run(Counted(7));
    REQUIRE(result);
    CHECK(*result == 7);
    CHECK(Counted::living == 0);
}

TEST_CASE("TaskRecord moves arguments into the coroutine and copies nothing") {
    const auto result = testing::run_on_loop(
        [](std::unique_ptr<int> pointer, std::string text) -> Task<int> {
            const auto turned = co_await yield();
            co_return turned ? *pointer + static_cast<int>(text.size()) : -1;
        },
        std::make_unique<int>(5), "four");
    REQUIRE(result);
    CHECK(*result == 9);
}

TEST_CASE("TaskRecord calls what std::invoke calls") {
    struct Object {
        // As wide as a pointer: for an int, g++ 12 at -O2 warns of a vtable that a pointer to
        // member function could need.
        long base;
        Task<long> plus(int number) {
            const auto turned = co_await yield();
            co_return turned ? base + number : -1;
        }
    };
    Object object{.base = 10};
    const auto by_member = testing::run_on_loop(&Object::plus, &object, 5);
    REQUIRE(by_member);
    CHECK(*by_member == 15);

    int written = 0;
    const auto by_reference = testing::run_on_loop(
        [](int& target) -> Task<> {
            target = 3;
            co_return;
        },
        std::ref(written));
    CHECK(by_reference);
    CHECK(written == 3);
}

TEST_CASE("TaskRecord returns a task's value or nothing or a Result that is not nested") {
    const auto value = testing::run_on_loop([]() -> Task<int> { co_return 4; });
    static_assert(std::is_same_v<std::remove_const_t<decltype(value)>, Result<int>>);
    REQUIRE(value);
    CHECK(*value == 4);

    const auto nothing = testing::run_on_loop([]() -> Task<> { co_return; });
    static_assert(std::is_same_v<std::remove_const_t<decltype(nothing)>, Result<void>>);
    CHECK(nothing);

    const auto error =
        testing::run_on_loop([]() -> Task<Result<int>> { co_return std::errc::broken_pipe; });
    static_assert(std::is_same_v<std::remove_const_t<decltype(error)>, Result<int>>);
    REQUIRE_FALSE(error);
    CHECK(error.error() == std::errc::broken_pipe);

    const auto throwing = []() -> Task<int> {
        throw std::runtime_error("through run");
        co_return 1;
    };
    CHECK_THROWS_WITH_AS(static_cast<void>(testing::run_on_loop(throwing)), "through run",
                         std::runtime_error);
}

TEST_CASE("TaskRecord reports the failure of a task that is never joined") {
    auto lines = reports_of([]() -> Task<> {
        throw std::runtime_error("the parser met a letter");
        co_return;
    });
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("exception") != std::string::npos);
    CHECK(lines[0].find("the parser met a letter") != std::string::npos);

    lines = reports_of([]() -> Task<int> {
        throw 7;
        co_return 1;
    });
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("not a std::exception") != std::string::npos);

    lines = reports_of([]() -> Task<Result<int>> { co_return std::errc::connection_reset; });
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find(std::make_error_code(std::errc::connection_reset).message()) !=
          std::string::npos);
}

TEST_CASE("TaskRecord has a short name of its coroutine function") {
    CHECK(short_task_name("ringlet::Task<void> {anonymous}::echo(ringlet::TcpStream)") == "echo");
    CHECK(short_task_name("Task<> n::S::member(int) const") == "n::S::member");
    CHECK(short_task_name("T n::S::tmpl(X) [with X = double]") == "n::S::tmpl");
    CHECK(short_task_name("Task<> n::echo(T) [T = int[3], U = n::Stream]") == "n::echo");
    CHECK(short_task_name("int n::S<int>::tmpl(X) const [T = int, X = double]") ==
          "n::S<int>::tmpl");
    CHECK(short_task_name("main()::<lambda(int)>") == "lambda in main");
    CHECK(short_task_name("auto main()::(anonymous class)::operator()(int) const") ==
          "lambda in main");
    CHECK(short_task_name("reader of lines") == "reader of lines");
}

TEST_CASE("TaskRecord reports nothing for a task that succeeded") {
    CHECK(reports_of([]() -> Task<> { co_return; }).empty());
    CHECK(reports_of([]() -> Task<int> { co_return 1; }).empty());
    CHECK(reports_of([]() -> Task<Result<void>> { co_return Result<void>(); }).empty());
    CHECK(reports_of([]() -> Task<Result<int>> { co_return 3; }).empty());
}
