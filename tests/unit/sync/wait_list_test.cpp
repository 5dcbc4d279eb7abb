#include <ringlet/detail/wait_list.hpp>

#include "death.hpp"
#include "net.hpp"

#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

class [[nodiscard]] Waiting final : public ListedWait {
public:
    Waiting(WaitList& line, bool ready) noexcept : line_(&line), ready_(ready) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> coroutine) {
        return wait_in(*line_, scope_of(coroutine), coroutine, [this] { return ready_; });
    }
    Result<void> await_resume() const noexcept { return outcome(); }

private:
    WaitList* line_;
    bool ready_;
};

Task<> stand(WaitList* line, std::vector<int>* order, int number) {
    auto woken = co_await Waiting(*line, false);
    order->push_back(woken ? number : -number);
}

} // namespace

TEST_CASE("WaitList wakes waiters in FIFO order, and skips cancelled ones") {
    ReportingLoop loop;
    WaitList line("Thing", "name");
    std::vector<int> order;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.spawn(stand, &line, &order, 1);
            auto second = group.spawn(stand, &line, &order, 2);
            group.spawn(stand, &line, &order, 3);
            auto turned = co_await yield();
            CHECK(turned);
            second.cancel();
            line.wake_one();
            line.wake_one();
            CHECK(line.empty());
        });
        CHECK(done);
    });
    CHECK(result);
    CHECK(order == std::vector<int>{-2, 1, 3});
    CHECK(line.to_string() == "Thing \"name\"");
}

TEST_CASE("WaitList lets others run after many results in a row that needed no wait") {
    ReportingLoop loop;
    WaitList line("Thing", "");
    bool other_ran = false;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            other_ran = true;
            co_return;
        });
        for (std::uint32_t i = 0; i < LoopCore::immediate_answers_limit; ++i) {
            auto passed = co_await Waiting(line, true);
            CHECK(passed);
            CHECK_FALSE(other_ran);
        }
        auto passed = co_await Waiting(line, true);
        CHECK(passed);
        CHECK(other_ran);
    });
    CHECK(result);
}

TEST_CASE("WaitList destroyed with a waiter aborts with both names") {
    check_aborts("Thing \"name\" was destroyed while task \"stander\"", [] {
        static_cast<void>(run_on_loop([]() -> Task<> {
            EventLoop& loop = co_await current_loop();
            std::vector<int> order;
            WaitList line("Thing", "name");
            loop.spawn("stander", stand, &line, &order, 1);
            auto turned = co_await yield();
            CHECK(turned);
        }));
    });
}
