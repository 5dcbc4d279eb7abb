#include <ringlet/event.hpp>

#include "death.hpp"
#include "net.hpp"

#include <optional>
#include <string>
#include <thread>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

Task<> wait_for(Event& event, std::string& trace, char name) {
    auto waited = co_await event.wait();
    trace += waited ? name : '-';
    if (!waited) CHECK(waited.error() == std::errc::operation_canceled);
}

} // namespace

TEST_CASE("an event wakes all waiters, the oldest first") {
    ReportingLoop loop;
    Event event;
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.spawn(wait_for, std::ref(event), std::ref(trace), 'a');
            auto second = group.spawn(wait_for, std::ref(event), std::ref(trace), 'b');
            auto third = group.spawn(wait_for, std::ref(event), std::ref(trace), 'c');
            static_cast<void>(co_await yield());
            second.cancel(); // before it is woken
            event.set();
            third.cancel(); // after: it was woken
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(trace == "-ac");
}

TEST_CASE("waiting for an event in a cancelled scope is refused, even if it is set") {
    ReportingLoop loop;
    Event event;
    event.set();
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.cancel();
            auto waited = co_await event.wait();
            CHECK(waited.error() == std::errc::operation_canceled);
        });
        static_cast<void>(done);
    });
    CHECK(result);
    event.clear();
    CHECK_FALSE(event.is_set());
}

TEST_CASE("waiting for a set event does not starve others") {
    ReportingLoop loop;
    Event event;
    event.set();
    bool other_ran = false;
    auto result = loop->run([&]() -> Task<bool> {
        loop->spawn([&]() -> Task<> {
            other_ran = true;
            co_return;
        });
        for (unsigned i = 0; i < 2 * LoopCore::immediate_answers_limit; ++i) {
            static_cast<void>(co_await event.wait());
        }
        co_return other_ran;
    });
    REQUIRE(result);
    CHECK(*result);
}

TEST_CASE("destroying an event with a waiting task aborts with both names") {
    for (const char* text : {"Event \"started\"", "waiter"}) {
        check_aborts(text, [] {
            ReportingLoop loop;
            std::optional<Event> event;
            event.emplace("started");
            std::string trace;
            static_cast<void>(loop->run([&]() -> Task<> {
                loop->spawn("waiter", wait_for, std::ref(*event), std::ref(trace), 'a');
                static_cast<void>(co_await yield());
                event.reset();
            }));
        });
    }
}

TEST_CASE("setting an event on another thread aborts with its name") {
    check_aborts("Event \"ready\" was used on another thread", [] {
        auto loop = EventLoop::create();
        Event event("ready");
        auto wait = [&]() -> Task<> {
            auto set = co_await event.wait();
            static_cast<void>(set);
        };
        auto body = [&]() -> Task<> {
            auto group = [&](TaskGroup& tasks) -> Task<> {
                tasks.spawn(wait);
                auto turned = co_await yield();
                static_cast<void>(turned);
                std::thread([&] { event.set(); }).join();
            };
            auto done = co_await with_task_group(group);
            static_cast<void>(done);
        };
        static_cast<void>(loop->run(body));
    });
}
