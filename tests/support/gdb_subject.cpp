// An idle program for a debugger: tasks that wait in every way, each in a function named after its wait. Prints its
// process id when all of them are waiting.

#include <ringlet/ringlet.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <unistd.h>

#include <sys/prctl.h>
#include <sys/socket.h>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

Task<Result<int>> inner_receive(StreamSocket& stream) {
    std::array<std::byte, 10> memory{};
    int calls = 0;
    ++calls;
    auto received = co_await stream.recv_exactly(memory); // line: inner_receive
    if (!received) co_return received.error();
    co_return calls;
}

Task<Result<int>> middle_receive(StreamSocket& stream) {
    auto slept = co_await sleep_for(1us);
    if (!slept) co_return slept.error();
    auto inner = co_await inner_receive(stream); // line: middle_receive
    co_return inner;
}

Task<> receive(StreamSocket stream) {
    auto received = co_await with_timeout(1h, middle_receive, std::ref(stream)); // line: receive
    static_cast<void>(received);
}

Task<> sleep_long() {
    auto slept = co_await sleep_for(1h); // line: sleep_long
    static_cast<void>(slept);
}

Task<> wait_for_event(Event& event) {
    auto happened = co_await event.wait(); // line: wait_for_event
    static_cast<void>(happened);
}

Task<> with_a_group() {
    auto body = [](TaskGroup& group) -> Task<> {
        group.spawn("first child", sleep_long);
        group.spawn("second child", sleep_long);
        co_return;
    };
    auto done = co_await with_task_group(body); // line: with_a_group
    static_cast<void>(done);
}

Task<> wait_for_mutex(Mutex& mutex) {
    auto locked = co_await mutex.lock(); // line: wait_for_mutex
    static_cast<void>(locked);
}

// Waits in a scope that was opened after a child's scope.
Task<> in_a_group_body() {
    auto body = [](TaskGroup& group) -> Task<> {
        group.spawn("third child", sleep_long);
        auto slept = co_await with_timeout(1h, sleep_long);
        static_cast<void>(slept);
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
}

std::atomic<bool> other_thread_stands = false;

// Long enough for every task to begin its wait.
Task<> after_many_turns() {
    for (int turn = 0; turn < 20; ++turn) {
        auto turned = co_await yield();
        static_cast<void>(turned);
    }
}

Task<> tell_main_thread() {
    co_await after_many_turns();
    other_thread_stands = true;
}

Task<> own_mutex() {
    EventLoop& loop = co_await current_loop();
    loop.spawn(tell_main_thread);
    Mutex mutex("the register");
    auto locked = co_await mutex.lock();
    static_cast<void>(locked);
    auto waited = co_await with_timeout(1h, wait_for_mutex, std::ref(mutex)); // line: own_mutex
    static_cast<void>(waited);
}

// A debugger stops here, while the task runs.
[[gnu::noinline]] void all_stand_still() {
    std::printf("%d\n", static_cast<int>(::getpid()));
    std::fflush(stdout);
}

Task<> stand_still() {
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) std::abort();
    EventLoop& loop = co_await current_loop();
    Event event;
    loop.spawn(receive, StreamSocket(UniqueFd(ends[0])));
    loop.spawn(with_a_group);
    loop.spawn("the event", wait_for_event, std::ref(event));
    loop.spawn(in_a_group_body);
    do {
        co_await after_many_turns();
    } while (!other_thread_stands);
    all_stand_still();
    auto slept = co_await sleep_for(1h); // line: stand_still
    static_cast<void>(slept);
}

} // namespace

int main() {
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); // for gdb, which is not our parent
    std::thread([] {
        auto loop = EventLoop::create();
        if (loop) static_cast<void>(loop->run(own_mutex));
    }).detach();
    auto loop = EventLoop::create();
    if (!loop) return EXIT_FAILURE;
    auto ran = loop->run(stand_still);
    return ran ? EXIT_SUCCESS : EXIT_FAILURE;
}
