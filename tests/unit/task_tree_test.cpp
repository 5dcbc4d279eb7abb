#include "task_tree.hpp"

#include "net.hpp"

#include <string>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("dump shows tasks as a tree, with their places and what they wait for") {
    ReportingLoop loop;
    Event never("the bell");
    auto pair = tcp_pair();
    const std::string descriptor = "descriptor " + std::to_string(pair.first.get());
    std::string dump;
    auto result = loop->run(
        [&](TcpStream stream) -> Task<> {
            auto reads = [&]() -> Task<> { static_cast<void>(co_await stream.recv()); };
            auto waits = [&]() -> Task<> { static_cast<void>(co_await never.wait()); };
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn("reader", reads);
                group.spawn("waiter", waits);
                static_cast<void>(co_await yield());
                dump = loop->dump();
                group.cancel();
            };
            static_cast<void>(co_await with_task_group(body));
        },
        TcpStream(std::move(pair.first)));
    CHECK(result);
    CAPTURE(dump);
    CHECK(dump.find("\n  task \"reader\" (task_tree_test.cpp:") != std::string::npos);
    CHECK(dump.find("recv on " + descriptor) != std::string::npos);
    CHECK(dump.find("\n  task \"waiter\"") != std::string::npos);
    CHECK(dump.find("the bell") != std::string::npos);
}
