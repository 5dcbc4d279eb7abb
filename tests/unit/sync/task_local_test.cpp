#include <ringlet/task_local.hpp>

#include "net.hpp"

#include <string>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("a task inherits values, and what it sets reaches neither parent nor siblings") {
    ReportingLoop loop;
    TaskLocal<std::string> user("nobody");
    CHECK(user.get() == "nobody");
    auto result = loop->run([&]() -> Task<> {
        user.set("ada");
        auto child = [&](const char* own) -> Task<> {
            CHECK(user.get() == "ada");
            user.set(own);
            static_cast<void>(co_await yield());
            CHECK(user.get() == own);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child, "bob");
            group.spawn(child, "eve");
            co_return;
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
        CHECK(user.get() == "ada");
    });
    CHECK(result);
    CHECK(user.get() == "nobody");
}
