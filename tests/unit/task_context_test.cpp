#include "support.hpp"

#include <ringlet/task_context.hpp>

#include <coroutine>
#include <exception>
#include <utility>

using namespace ringlet;

namespace {

// A coroutine type that a user could write: it may await what ringlet offers.
struct OwnCoroutine {
    struct promise_type {
        TaskContext* carried = nullptr;
        TaskContext* context() { return carried; }
        OwnCoroutine get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
    std::coroutine_handle<promise_type> frame;
};

struct NoContext {};
struct WrongContext {
    int* context();
};

class Context final : public TaskContext {
public:
    void root_finished() noexcept override { ++finished_count; }
    int finished_count = 0;
};

// Finds the context of whoever awaits it, and does not wait.
struct ContextFinder {
    TaskContext* found = nullptr;
    bool await_ready() const noexcept { return false; }
    template <ContextPromise P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        found = waiter.promise().context();
        return false;
    }
    TaskContext* await_resume() const noexcept { return found; }
};

Task<TaskContext*> own_context() {
    ContextFinder finder;
    auto* context = co_await finder;
    co_return context;
}

OwnCoroutine ask(TaskContext** answer) {
    auto* context = co_await own_context();
    *answer = context;
}

} // namespace

static_assert(ContextPromise<Task<>::promise_type> && ContextPromise<Task<int>::promise_type>);
static_assert(ContextPromise<OwnCoroutine::promise_type>);
static_assert(!ContextPromise<NoContext> && !ContextPromise<WrongContext>);
static_assert(!std::is_destructible_v<TaskContext>, "its owner is the record, never the context");

TEST_CASE("TaskContext starts without a loop and without a cancellation") {
    const Context context;
    CHECK(context.loop == nullptr);
    CHECK(context.answers_after_cancel == 0);
}

TEST_CASE("TaskContext reaches a Task that is awaited by a coroutine type of one's own") {
    Context context;
    TaskContext* answer = nullptr;
    const auto own = ask(&answer);
    own.frame.promise().carried = &context;
    own.frame.resume();
    CHECK(own.frame.done());
    CHECK(answer == &context);
    // Only the outermost Task of a task tells that it has finished, and here there is none.
    CHECK(context.finished_count == 0);
    own.frame.destroy();
}
