// g++ 12 miscompiles ordinary coroutine code. One row of docs/guides/pitfalls.md per case: the safe form
// works with the types of ringlet, and the unsafe form runs in a child process, which shows whether
// this compiler still breaks it. If a newer g++ fails a case here because a form finally works, the
// rule behind it can go.

#include "death.hpp"
#include "net.hpp"

#include "base/sanitizer.hpp"

#include <cstddef>
#include <set>
#include <string>

using namespace ringlet;

namespace {

#if defined(__clang__)
constexpr bool forms_are_broken = false;
#else
constexpr bool forms_are_broken = __GNUC__ < 13;
#endif

// Knows its living objects, so that a second destruction is noticed without a sanitizer.
struct Tracked {
    static inline std::set<const Tracked*> living;
    static inline int mistakes = 0;

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

// Too long for a string to hold without allocating.
constexpr const char* long_text = "a text that is longer than the buffer inside of a string";

bool went_right = false; // set if a form finished with the right values

// Runs a form on a loop: 0 if it worked, and destroyed everything once.
template <class Fn>
int run_form(Fn form) {
    went_right = false;
    Tracked::living.clear();
    Tracked::mistakes = 0;
    auto loop = EventLoop::create();
    if (!loop) return 2;
    const auto ran = loop->run(form);
    return ran && went_right && Tracked::mistakes == 0 && Tracked::living.empty() ? 0 : 1;
}

template <class Fn>
void check_safe_form(Fn form) {
    testing::waiting_for("a form that should be safe");
    CHECK(run_form(form) == 0);
}

// Runs a form in a child and checks that this compiler breaks it as expected.
template <class Fn>
void check_unsafe_form(const std::string& name, Fn form) {
    constexpr unsigned limit_seconds = 2; // a task that has never started waits for ever
    const auto outcome = testing::run_in_child([form] { return run_form(form); }, limit_seconds);
    REQUIRE(outcome.exit_status != 2);
    const bool works = outcome.succeeded();
    const std::string how = outcome.signal != 0
                                ? " (signal " + std::to_string(outcome.signal) + ")"
                                : " (exit status " + std::to_string(outcome.exit_status) + ")";
    const auto text = name + (works ? ": works" : ": broken" + how);
    MESSAGE(text);
    if (forms_are_broken) {
        CHECK_MESSAGE(!works, "g++ 12 makes this form right: is the rule still needed?");
    } else {
        CHECK_MESSAGE(works, outcome.to_string());
    }
}

Task<Result<int>> number_result(int value) {
    const auto turned = co_await yield();
    if (!turned) co_return turned.error();
    co_return value;
}

Task<int> number(int value) {
    const auto turned = co_await yield();
    co_return turned ? value : -1;
}

Task<Tracked> tracked() {
    Tracked value;
    const auto turned = co_await yield();
    static_cast<void>(turned);
    co_return value;
}

struct Options {
    Tracked tracked;
    std::string name;
    int number = 0;
};

Task<int> number_of(Options options) {
    const auto turned = co_await yield();
    co_return turned&& options.name == long_text ? options.number : -1;
}

template <class Fn>
Task<int> call(Fn fn) {
    const auto turned = co_await yield();
    co_return turned ? fn() : -1;
}

// ---- no local variable in the outermost scope ---------------------------------------------------

Task<> unsafe_if() {
    if (!co_await number_result(7)) co_return;
    went_right = true;
}

Task<> unsafe_if_of_an_awaiter() {
    if (!co_await yield()) co_return;
    went_right = true;
}

Task<> safe_if() {
    const auto result = co_await number_result(7);
    if (!result) co_return;
    went_right = *result == 7;
}

Task<> unsafe_switch() {
    switch (co_await number(3)) {
    case 3: went_right = true; break;
    default: break;
    }
}

Task<> safe_switch() {
    const int choice = co_await number(3);
    switch (choice) {
    case 3: went_right = true; break;
    default: break;
    }
}

// ---- a choice between two awaits ----------------------------------------------------------------

bool first_is_chosen = true;

Task<> unsafe_choice() {
    const Tracked value = first_is_chosen ? co_await tracked() : co_await tracked();
    static_cast<void>(value);
    went_right = true;
}

Task<> safe_choice() {
    auto task = first_is_chosen ? tracked() : tracked();
    const Tracked value = co_await std::move(task);
    static_cast<void>(value);
    went_right = true;
}

// ---- a lambda as an argument --------------------------------------------------------------------

Task<> unsafe_captures() {
    const Tracked captured;
    const int value = co_await call([captured] {
        static_cast<void>(captured);
        return 7;
    });
    went_right = value == 7;
}

Task<> safe_captures_by_name() {
    const Tracked captured;
    auto fn = [captured] {
        static_cast<void>(captured);
        return 7;
    };
    const int value = co_await call(std::move(fn));
    went_right = value == 7;
}

Task<> safe_captures_by_reference() {
    const Tracked captured;
    const int seven = 7;
    const int value = co_await call([&] {
        static_cast<void>(captured);
        return seven;
    });
    went_right = value == 7;
}

// ---- an aggregate as an argument ----------------------------------------------------------------

Task<> unsafe_aggregate() {
    const int value =
        co_await number_of(Options{.tracked = Tracked(), .name = long_text, .number = 7});
    went_right = value == 7;
}

Task<> unsafe_braces() {
    const int value = co_await number_of({.tracked = Tracked(), .name = long_text, .number = 7});
    went_right = value == 7;
}

Task<> safe_aggregate() {
    Options options{.tracked = Tracked(), .name = long_text, .number = 7};
    const int value = co_await number_of(std::move(options));
    went_right = value == 7;
}

// ---- a temporary that is chosen -----------------------------------------------------------------

struct Text {
    Tracked tracked;
    int number = 7;
};

Text make_text() { return {}; }

Task<int> number_in(const Text& text) {
    const auto turned = co_await yield();
    co_return turned ? text.number : -1;
}

bool first_text_is_chosen = true;

Task<> unsafe_chosen_temporary() {
    const int value = co_await number_in(first_text_is_chosen ? make_text() : Text{});
    went_right = value == 7;
}

Task<> safe_chosen_text() {
    const Text text = first_text_is_chosen ? make_text() : Text{};
    const int value = co_await number_in(text);
    went_right = value == 7;
}

Task<> safe_temporary() {
    const int value = co_await number_in(make_text());
    went_right = value == 7;
}

// ---- symmetric transfer -------------------------------------------------------------------------

// The textbook child: the parent suspends first, then child and parent transfer to each other.
class TextbookTask {
public:
    struct promise_type {
        std::coroutine_handle<> parent = std::noop_coroutine();
        TextbookTask get_return_object() {
            return TextbookTask(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        auto final_suspend() noexcept {
            struct Awaiter {
                bool await_ready() noexcept { return false; }
                std::coroutine_handle<>
                await_suspend(std::coroutine_handle<promise_type> finished) noexcept {
                    return finished.promise().parent;
                }
                void await_resume() noexcept {}
            };
            return Awaiter();
        }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };

    explicit TextbookTask(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    TextbookTask(const TextbookTask&) = delete;
    TextbookTask& operator=(const TextbookTask&) = delete;
    ~TextbookTask() { frame_.destroy(); }

    void start() { frame_.resume(); }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
        frame_.promise().parent = parent;
        return frame_;
    }
    void await_resume() noexcept {}

private:
    std::coroutine_handle<promise_type> frame_;
};

TextbookTask textbook_child() { co_return; }

TextbookTask textbook_parent(int count) {
    for (int i = 0; i < count; ++i) {
        auto child = textbook_child();
        co_await child;
    }
}

} // namespace

TEST_CASE("compiler: awaiting in the condition of an if") {
    check_safe_form(safe_if);
    check_unsafe_form("if (!co_await task())", unsafe_if);
    check_unsafe_form("if (!co_await awaiter())", unsafe_if_of_an_awaiter);
}

TEST_CASE("compiler: awaiting in a switch") {
    check_safe_form(safe_switch);
    check_unsafe_form("switch (co_await task())", unsafe_switch);
}

TEST_CASE("compiler: choosing between two awaits") {
    for (const bool first : {true, false}) {
        first_is_chosen = first;
        check_safe_form(safe_choice);
        check_unsafe_form("c ? co_await f() : co_await g()", unsafe_choice);
    }
}

TEST_CASE("compiler: a lambda with captures as an argument") {
    check_safe_form(safe_captures_by_name);
    check_safe_form(safe_captures_by_reference);
    check_unsafe_form("co_await f([captured_by_value] {...})", unsafe_captures);
}

TEST_CASE("compiler: an aggregate as an argument") {
    check_safe_form(safe_aggregate);
    check_unsafe_form("co_await f(Options{.name = ...})", unsafe_aggregate);
    check_unsafe_form("co_await f({.name = ...})", unsafe_braces);
}

TEST_CASE("compiler: a temporary chosen by ?: as an argument") {
    check_safe_form(safe_temporary);
    check_safe_form(safe_chosen_text);
    check_unsafe_form("co_await f(c ? text() : other())", unsafe_chosen_temporary);
}

// Why Task does not use it (task.hpp); that Task needs no tail call is in stack_test.cpp.
TEST_CASE("compiler: symmetric transfer to children that never wait") {
    const auto outcome = testing::run_in_child([] {
        constexpr int await_count = 5'000'000;
        auto parent = textbook_parent(await_count);
        parent.start();
    });
    const bool works = outcome.succeeded();
    const std::string text = works ? "the stack stays flat" : "the stack overflows";
    MESSAGE("symmetric transfer: ", text);
    if (testing::sanitizer_runs) return; // neither compiler promises anything
#if defined(__clang__) || defined(__OPTIMIZE__)
    CHECK_MESSAGE(works, outcome.to_string());
#else // no g++ makes tail calls at -O0
    CHECK_MESSAGE(!works, "this g++ makes tail calls at -O0: could Task use them?");
#endif
}
