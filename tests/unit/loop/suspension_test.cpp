#include <ringlet/detail/suspension.hpp>

#include "net.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// A coroutine of a user's own type, which runs in a given scope and can be destroyed while it is suspended.
class Own {
public:
    struct promise_type {
        CancelScope* in;
        promise_type(CancelScope* scope, auto&...) : in(scope) {}
        CancelScope* scope() const noexcept { return in; }
        Own get_return_object() {
            return Own(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() { throw; }
    };
    explicit Own(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    Own(Own&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    Own& operator=(Own&&) = delete;
    ~Own() {
        if (frame_) frame_.destroy();
    }

private:
    std::coroutine_handle<promise_type> frame_;
};

/// A scope for an `Own`, inside the scope of the awaiting task.
struct OwnScope {
    CancelScope scope;
    OwnScope(CancelScope& parent) { scope.open(parent, parent.task); }
};

auto this_scope() {
    return ScopeQuestion([](CancelScope& scope) noexcept -> CancelScope& { return scope; });
}

Own lock(CancelScope*, Mutex& mutex) {
    auto guard = co_await mutex.lock();
    static_cast<void>(guard);
}
Own acquire(CancelScope*, Semaphore& semaphore) {
    auto permit = co_await semaphore.acquire();
    static_cast<void>(permit);
}
Own receive(CancelScope*, Channel<std::string>& channel) {
    auto value = co_await channel.recv();
    static_cast<void>(value);
}
Own receive_letter(CancelScope*, ThreadChannel<std::string>& channel) {
    auto value = co_await channel.recv();
    static_cast<void>(value);
}
Own wait_for(CancelScope*, CondVar& changed, Mutex& mutex) {
    auto guard = mutex.try_lock();
    auto woken = co_await changed.wait(guard);
    static_cast<void>(woken);
}
Own nap(CancelScope*) {
    auto slept = co_await sleep_for(1ms);
    static_cast<void>(slept);
}
Own take_turns(CancelScope*) {
    auto turned = co_await yield();
    static_cast<void>(turned);
}

} // namespace

TEST_CASE("a frame destroyed while it waits, or before it resumes, passes on what it was given") {
    ReportingLoop loop;
    waiting_for("nobody: what has gone is not resumed");
    auto result = loop->run([&]() -> Task<> {
        CancelScope& here = co_await this_scope();
        OwnScope one(here), two(here);

        Mutex mutex;
        {
            auto holder = mutex.try_lock();
            std::optional<Own> first(lock(&one.scope, mutex));
            Own second = lock(&two.scope, mutex);
            holder.unlock(); // hands the mutex to `first`
            first.reset();   // which passes it on to `second`
            auto turned = co_await yield();
            turned = co_await yield();
            CHECK(mutex.is_locked() == false); // `second` had it and is done
        }
        Semaphore semaphore(0);
        {
            std::optional<Own> first(acquire(&one.scope, semaphore));
            semaphore.release();
            CHECK(semaphore.available() == 0);
            first.reset();
            CHECK(semaphore.available() == 1);
        }
        Channel<std::string> channel(2);
        {
            std::optional<Own> first(receive(&one.scope, channel));
            CHECK(channel.try_send("kept"));
            CHECK(channel.size() == 0);
            first.reset();
            CHECK(channel.size() == 1);
            CHECK(channel.try_recv() == "kept");
        }
        CondVar changed;
        {
            std::optional<Own> first(wait_for(&one.scope, changed, mutex));
            CHECK_FALSE(mutex.is_locked());
            changed.notify_one();
            CHECK(mutex.is_locked());
            first.reset();
            CHECK_FALSE(mutex.is_locked());
            first.emplace(wait_for(&one.scope, changed, mutex));
            auto holder = mutex.try_lock(); // held by another task
            first.reset();
            CHECK(mutex.is_locked());
        }
        {
            std::optional<Own> first(nap(&one.scope));
            Own second = take_turns(&two.scope);
            first.reset();
            CHECK(loop->stats().armed_timers == 0);
        }
        {
            std::optional<Own> first(nap(&one.scope));
            auto slept = co_await sleep_for(5ms);
            CHECK(slept);
        }
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a frame destroyed while waiting for other threads is no longer counted, and its letter "
          "stays") {
    ReportingLoop loop;
    ThreadChannel<std::string> letters(*loop, 2);
    auto result = loop->run([&]() -> Task<> {
        CancelScope& here = co_await this_scope();
        OwnScope one(here);
        std::optional<Own> first(receive_letter(&one.scope, letters));
        auto sent = letters.sender().try_send("kept");
        CHECK(sent);
        auto turned = co_await yield();
        CHECK(turned);
        first.reset();
        auto letter = co_await letters.recv();
        CHECK(letter.value() == "kept");
        first.emplace(receive_letter(&one.scope, letters));
        first.reset();

        ThreadChannel<std::string> narrow(*loop, 1);
        first.emplace(receive_letter(&one.scope, narrow));
        CHECK(narrow.sender().try_send("first"));
        turned = co_await yield();
        while (!narrow.sender().try_send("second")) static_cast<void>(co_await yield());
        first.reset(); // puts its value back, beyond the capacity
        CHECK_FALSE(narrow.sender().try_send("third"));
        auto again = co_await narrow.recv();
        CHECK(again.value() == "first");
    });
    CHECK(result);
    if (thread_sanitizer_runs) return; // TSan has a thread of its own, which the loop must expect
    const WithoutSignalHandlers nobody_may_interrupt;
    auto stuck = loop->run([]() -> Task<> {
        Event never;
        auto waited = co_await never.wait();
        static_cast<void>(waited);
    });
    CHECK(stuck.error() == Errc::would_block_forever); // the loop expects no thread
}
