// Tasks without a loop, driven by hand.

#include "death.hpp"
#include "support.hpp"

#include <ringlet/task.hpp>

#include "base/sanitizer.hpp"

#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

// Drives a task in place of a loop.
template <class T>
class Driven {
public:
    explicit Driven(Task<T> driven) : task_(std::move(driven)) {
        task_.frame().promise().begin(&scope_);
    }
    void start() { task_.frame().resume(); }
    T take() { return task_.frame().promise().take(); }
    [[nodiscard]] int finished_count() const { return task_ && task_.frame().done() ? 1 : 0; }
    [[nodiscard]] CancelScope& scope() { return scope_; }
    void drop() { task_ = Task<T>(); }

private:
    CancelScope scope_;
    Task<T> task_;
};

template <class T>
T run_through(Task<T> task) {
    Driven<T> driven(std::move(task));
    driven.start();
    REQUIRE(driven.finished_count() == 1);
    return driven.take();
}

// A coroutine waits here until the test opens it.
class Gate {
public:
    bool await_ready() const noexcept { return false; }
    template <ScopedPromise P>
    void await_suspend(std::coroutine_handle<P> waiter) noexcept {
        waiter_ = waiter;
        scope = waiter.promise().scope();
    }
    void await_resume() const noexcept {}

    [[nodiscard]] bool has_waiter() const { return waiter_ != nullptr; }
    void open() { std::exchange(waiter_, nullptr).resume(); }

    CancelScope* scope = nullptr;

private:
    std::coroutine_handle<> waiter_;
};

// Knows its living objects, so that a second destruction is noticed without a sanitizer.
struct Tracked {
    static inline std::set<const Tracked*> living;
    static inline int mistakes = 0;
    static void reset() {
        living.clear();
        mistakes = 0;
    }
    static bool all_gone_once() { return living.empty() && mistakes == 0; }

    Tracked() { born(); }
    Tracked(const Tracked& other) {
        if (living.count(&other) == 0) ++mistakes;
        born();
    }
    Tracked& operator=(const Tracked&) = default;
    ~Tracked() {
        if (living.erase(this) == 0) ++mistakes;
    }

private:
    void born() {
        if (!living.insert(this).second) ++mistakes;
    }
};

Task<int> number(int value) { co_return value; }

Task<int> number_behind(Gate* gate, int value) {
    co_await *gate;
    co_return value;
}

template <class T>
concept AwaitsLvalue = requires(Task<T>& task) { task.operator co_await(); };
template <class T>
concept AwaitsRvalue = requires(Task<T>&& task) { std::move(task).operator co_await(); };

} // namespace

static_assert(!std::is_copy_constructible_v<Task<int>> && !std::is_copy_assignable_v<Task<int>>);
static_assert(std::is_nothrow_move_constructible_v<Task<int>>);
static_assert(std::is_nothrow_move_assignable_v<Task<int>>);
static_assert(sizeof(Task<int>) == sizeof(void*));
static_assert(!AwaitsLvalue<int> && !AwaitsLvalue<void>, "an lvalue must be moved: it ends here");
static_assert(AwaitsRvalue<int> && AwaitsRvalue<void>);
static_assert(!std::is_convertible_v<Task<int>, bool>);
static_assert(is_task_v<Task<>> && is_task_v<Task<int>> && !is_task_v<int>);
static_assert(std::is_same_v<Task<int>::value_type, int>);

TEST_CASE("Task starts when it is awaited and not before") {
    int steps = 0;
    const auto child = [](int* count) -> Task<> {
        ++*count;
        co_return;
    };
    const auto parent = [&child](int* count) -> Task<int> {
        auto task = child(count);
        const int before = *count;
        co_await std::move(task);
        co_return before;
    };
    Driven<int> driven(parent(&steps));
    CHECK(steps == 0);
    driven.start();
    CHECK(driven.take() == 0);
    CHECK(steps == 1);
}

TEST_CASE("Task knows whether it holds a frame") {
    Task<int> empty;
    CHECK_FALSE(empty);
    Task<int> task = number(1);
    CHECK(task);
    Task<int> taken = std::move(task);
    CHECK(taken);
    CHECK_FALSE(task); // NOLINT: what a move leaves behind is the point
    task = std::move(taken);
    CHECK(task);
    CHECK_FALSE(taken); // NOLINT
    Task<int>& alias = task;
    task = std::move(alias);
    CHECK(task);
    const int value = run_through(std::move(task));
    CHECK(value == 1);
}

TEST_CASE("Task that never starts frees its frame and its arguments") {
    Tracked::reset();
    FramePool::local().trim();
    const auto never = [](Tracked) -> Task<> { co_return; };
    {
        const Tracked argument;
        const auto dropped = never(argument);
        CHECK(Tracked::living.size() == 2);
        auto replaced = never(argument);
        CHECK(Tracked::living.size() == 3);
        replaced = never(argument);
        CHECK(Tracked::living.size() == 3);
    }
    CHECK(Tracked::all_gone_once());
    CHECK(FramePool::local().kept_count() == (address_sanitizer_runs ? 0 : 3));
}

TEST_CASE("Task reuses frames from the pool") {
    if (address_sanitizer_runs) RINGLET_SKIP("under ASan the pool keeps nothing");
    FramePool::local().trim();
    static_cast<void>(run_through(number(1)));
    const auto kept = FramePool::local().kept_count();
    CHECK(kept == 1);
    for (int i = 0; i < 100; ++i) static_cast<void>(run_through(number(i)));
    CHECK(FramePool::local().kept_count() == kept);
}

TEST_CASE("Task returns values of every kind through co_await") {
    struct Immutable {
        explicit Immutable(int number) : value(number) {}
        const int value;
    };
    const auto sum = []() -> Task<int> {
        const auto text = []() -> Task<std::string> { co_return "converted from a literal"; };
        const auto pointer = []() -> Task<std::unique_ptr<int>> {
            co_return std::make_unique<int>(5);
        };
        const auto nothing = []() -> Task<> { co_return; };
        const auto immutable = []() -> Task<Immutable> { co_return Immutable(7); };
        const auto failure = []() -> Task<Result<int>> { co_return std::errc::io_error; };

        int total = co_await number(1);
        const auto received_text = co_await text();
        total += static_cast<int>(received_text.size());
        const auto received_pointer = co_await pointer();
        total += *received_pointer;
        co_await nothing();
        const auto received_immutable = co_await immutable();
        total += received_immutable.value;
        const auto received_failure = co_await failure();
        total += received_failure.error() == std::errc::io_error ? 1000 : 0;
        co_return total;
    };
    const int total = run_through(sum());
    CHECK(total == 1 + 24 + 5 + 7 + 1000);
}

TEST_CASE("Task resumes its parent when it had to wait") {
    Gate gate;
    const auto parent = [](Gate* where) -> Task<int> {
        const int first = co_await number_behind(where, 20);
        const int second = co_await number_behind(where, 22);
        co_return first + second;
    };
    Driven<int> driven(parent(&gate));
    driven.start();
    CHECK(gate.has_waiter());
    CHECK(driven.finished_count() == 0);
    gate.open();
    CHECK(gate.has_waiter());
    CHECK(driven.finished_count() == 0);
    gate.open();
    CHECK(driven.finished_count() == 1);
    CHECK(driven.take() == 42);
}

TEST_CASE("Task passes its scope on to everything it awaits") {
    Gate gate;
    const auto innermost = [](Gate* where) -> Task<> { co_await *where; };
    const auto middle = [&innermost](Gate* where) -> Task<> { co_await innermost(where); };
    const auto outermost = [&middle](Gate* where) -> Task<> { co_await middle(where); };
    Driven<void> driven(outermost(&gate));
    driven.start();
    CHECK(gate.scope == &driven.scope());
    gate.open();
    CHECK(driven.finished_count() == 1);
}

TEST_CASE("Task chains a thousand deep finish from the inside out") {
    struct Deep {
        static Task<int> down(Gate* gate, int depth) {
            if (depth == 0) {
                co_await *gate;
                co_return 0;
            }
            const int below = co_await down(gate, depth - 1);
            co_return below + 1;
        }
    };
    Gate gate;
    Driven<int> driven(Deep::down(&gate, 1000));
    driven.start();
    gate.open();
    CHECK(driven.finished_count() == 1);
    CHECK(driven.take() == 1000);
}

TEST_CASE("Task throws from co_await what its coroutine threw") {
    struct Failing {
        static Task<int> at_once() {
            throw std::runtime_error("at once");
            co_return 1;
        }
        static Task<int> later(Gate* gate) {
            co_await *gate;
            throw std::runtime_error("later");
        }
        static Task<> nothing() {
            throw std::logic_error("nothing");
            co_return;
        }
        static Task<int> between(Gate* gate) {
            const int value = co_await later(gate);
            co_return value;
        }
        static Task<std::string> all(Gate* gate) {
            std::string heard;
            try {
                const int value = co_await at_once();
                heard += std::to_string(value);
            } catch (const std::runtime_error& error) {
                heard += error.what();
            }
            try {
                const int value = co_await between(gate);
                heard += std::to_string(value);
            } catch (const std::runtime_error& error) {
                heard += std::string(", ") + error.what();
            }
            try {
                co_await nothing();
            } catch (const std::logic_error& error) {
                heard += std::string(", ") + error.what();
            }
            co_return heard;
        }
    };
    Gate gate;
    Driven<std::string> driven(Failing::all(&gate));
    driven.start();
    REQUIRE(gate.has_waiter());
    gate.open();
    REQUIRE(driven.finished_count() == 1);
    CHECK(driven.take() == "at once, later, nothing");
}

TEST_CASE("Task that ends with an exception has finished") {
    const auto failing = []() -> Task<int> {
        throw std::runtime_error("out");
        co_return 1;
    };
    Driven<int> driven(failing());
    driven.start();
    CHECK(driven.finished_count() == 1);
    CHECK_THROWS_WITH_AS(driven.take(), "out", std::runtime_error);
}

TEST_CASE("Task destroys arguments and locals and values exactly once") {
    Tracked::reset();
    struct Making {
        static Task<Tracked> value(Tracked argument, Gate* gate) {
            const Tracked local;
            if (gate != nullptr) co_await *gate;
            co_return argument;
        }
        static Task<> parent(Tracked argument, Gate* gate) {
            const Tracked at_once = co_await value(argument, nullptr);
            const Tracked later = co_await value(at_once, gate);
            const Tracked moved = co_await value(std::move(argument), nullptr);
        }
    };
    {
        Gate gate;
        const Tracked argument;
        Driven<void> driven(Making::parent(argument, &gate));
        driven.start();
        REQUIRE(gate.has_waiter());
        CHECK(Tracked::mistakes == 0);
        gate.open();
        CHECK(driven.finished_count() == 1);
        driven.take();
    }
    CHECK(Tracked::all_gone_once());

    // A whole chain dropped while it waits.
    {
        Gate gate;
        const Tracked argument;
        Driven<void> driven(Making::parent(argument, &gate));
        driven.start();
        REQUIRE(gate.has_waiter());
        driven.drop();
        CHECK(Tracked::living.size() == 1);
        CHECK(driven.finished_count() == 0);
    }
    CHECK(Tracked::all_gone_once());

    // A value that is never taken.
    {
        Driven<Tracked> driven(Making::value(Tracked(), nullptr));
        driven.start();
        CHECK(driven.finished_count() == 1);
    }
    CHECK(Tracked::all_gone_once());
}

TEST_CASE("Task destroys its locals before its parent resumes and its frame afterwards") {
    struct Noting {
        Noting(std::vector<std::string>* where, const char* name) : where_(where), name_(name) {}
        Noting(Noting&& other) noexcept
            : where_(std::exchange(other.where_, nullptr)), name_(other.name_) {}
        Noting(const Noting&) = delete;
        Noting& operator=(const Noting&) = delete;
        ~Noting() {
            if (where_ != nullptr) where_->push_back(name_);
        }

    private:
        std::vector<std::string>* where_;
        const char* name_;
    };
    struct Order {
        static Task<int> child(Noting, std::vector<std::string>* events) {
            const Noting first(events, "first local");
            const Noting second(events, "second local");
            co_return 1;
        }
        static Task<> parent(std::vector<std::string>* events) {
            const Noting local(events, "local of the parent");
            Noting argument(events, "argument");
            auto task = child(std::move(argument), events);
            const int value = co_await std::move(task);
            events->push_back("parent got " + std::to_string(value));
            task = Task<int>();
            events->push_back("parent ends");
        }
    };
    std::vector<std::string> events;
    Driven<void> driven(Order::parent(&events));
    driven.start();
    CHECK(events == std::vector<std::string>{"second local", "first local", "parent got 1",
                                             "argument", "parent ends", "local of the parent"});
}

TEST_CASE("Task moves its value and copies nothing") {
    struct MoveCounter {
        int* moves;
        explicit MoveCounter(int* count) : moves(count) {}
        MoveCounter(MoveCounter&& other) noexcept : moves(other.moves) { ++*moves; }
        MoveCounter(const MoveCounter&) = delete;
        MoveCounter& operator=(const MoveCounter&) = delete;
    };
    struct Moving {
        static Task<MoveCounter> child(int* count) { co_return MoveCounter(count); }
        static Task<> parent(int* count) {
            const auto value = co_await child(count);
            static_cast<void>(value);
        }
    };
    int moves = 0;
    run_through(Moving::parent(&moves));
    CHECK(moves == 2); // into the promise, and out of it
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
static Task<Result<int>> positive(int number) {
    if (number > 0) co_return number;
}
#pragma GCC diagnostic pop

TEST_CASE("running off the end of a coroutine that returns a value aborts with its name") {
    CHECK(run_through(positive(1)).value() == 1);
    testing::check_aborts("\"positive\" has run off its end", [] {
        const auto parent = []() -> Task<> {
            auto number = co_await positive(0);
            static_cast<void>(number);
        };
        run_through(parent());
    });
}

TEST_CASE("Task aborts when it is awaited twice") {
    testing::check_aborts("a Task was awaited twice", [] {
        const auto parent = []() -> Task<int> {
            auto child = number(1);
            const int first = co_await std::move(child);
            const int second = co_await std::move(child); // NOLINT: the mistake
            co_return first + second;
        };
        static_cast<void>(run_through(parent()));
    });
}

TEST_CASE("Task aborts when it is awaited after a move") {
    testing::check_aborts("a Task was awaited that was moved from", [] {
        const auto parent = []() -> Task<int> {
            auto child = number(1);
            const auto taken = std::move(child);
            const int value = co_await std::move(child); // NOLINT: the mistake
            co_return value;
        };
        static_cast<void>(run_through(parent()));
    });
    testing::check_aborts("a Task was awaited that was moved from", [] {
        const auto parent = []() -> Task<> {
            Task<> empty;
            co_await std::move(empty);
        };
        run_through(parent());
    });
}

TEST_CASE("an exception from a destructor after co_return replaces the value") {
    struct Thrower {
        ~Thrower() noexcept(false) { throw std::runtime_error("late"); }
    };
    auto counted = std::make_shared<int>(1);
    auto late = [](std::shared_ptr<int> value) -> Task<std::shared_ptr<int>> {
        Thrower thrower;
        co_return value;
    };
    auto caught = testing::run_on_loop([&]() -> Task<bool> {
        bool was_thrown = false;
        try {
            auto value = co_await late(counted);
            static_cast<void>(value);
        } catch (const std::runtime_error&) {
            was_thrown = true;
        }
        co_return was_thrown;
    });
    REQUIRE(caught);
    CHECK(*caught);
    CHECK(counted.use_count() == 1);
}

TEST_CASE("awaiting a Task that another coroutine awaits aborts") {
    testing::check_aborts("a Task was awaited twice", [] {
        auto sleeper = []() -> Task<> {
            auto slept = co_await sleep_for(std::chrono::seconds(10));
            static_cast<void>(slept);
        };
        auto shared = std::make_shared<Task<>>(sleeper());
        auto await_it = [shared]() -> Task<> { co_await std::move(*shared); };
        auto loop = EventLoop::create();
        loop->spawn(await_it);
        static_cast<void>(loop->run(await_it));
    });
}
