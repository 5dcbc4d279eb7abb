#include <ringlet/wait.hpp>

#include "net.hpp"

using namespace ringlet;
using namespace ringlet::testing;

namespace {

// A wait that a user could write: it resumes on request.
class [[nodiscard]] OwnWait final : public Suspension {
public:
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> coroutine) {
        return suspend(scope_of(coroutine), coroutine, [] {});
    }
    int await_resume() const noexcept { return cancel_count; }
    void cancel() noexcept override {
        ++cancel_count;
        wake();
    }
    void abandon() noexcept override {}
    std::string describe() const override { return "something of one's own"; }

    int cancel_count = 0;
};

Task<int> wait_for(OwnWait* wait) {
    auto answer = co_await *wait;
    co_return answer;
}

} // namespace

TEST_CASE("Wait of a user's own type is cancelled once through its scope, and is in the dump") {
    ReportingLoop loop;
    OwnWait wait;
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto handle = group.spawn(wait_for, &wait);
            auto turned = co_await yield();
            CHECK(turned);
            CHECK(loop->dump().find("waits for something of one's own") != std::string::npos);
            handle.cancel();
            handle.cancel();
            auto answer = co_await handle.join();
            CHECK(answer.value() == 1);
        });
        CHECK(done);
    });
    CHECK(result);
    check_nothing_left(*loop);
}
