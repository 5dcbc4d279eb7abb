#include <ringlet/channel.hpp>

#include "net.hpp"

#include <memory>
#include <string>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("a channel of any capacity hands move-only values over in order") {
    for (const std::size_t capacity : {0U, 1U, 3U}) {
        ReportingLoop loop;
        Channel<std::unique_ptr<int>> channel(capacity);
        std::string trace;
        auto result = loop->run([&]() -> Task<> {
            loop->spawn([&]() -> Task<> {
                for (int i = 0; i < 8; ++i) {
                    auto value = std::make_unique<int>(i);
                    auto sent = co_await channel.send(std::move(value));
                    CHECK(sent);
                }
                channel.close();
            });
            for (;;) {
                auto value = co_await channel.recv();
                if (!value) {
                    CHECK(value.error() == Errc::channel_closed);
                    break;
                }
                trace += std::to_string(**value);
            }
        });
        CHECK(result);
        CHECK(trace == "01234567");
    }
}

TEST_CASE("a value that could not be sent is not moved from") {
    ReportingLoop loop;
    Channel<std::unique_ptr<int>> channel(0);
    auto result = loop->run([&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            auto sender = group.spawn([&]() -> Task<> {
                auto value = std::make_unique<int>(1);
                auto sent = co_await channel.send(std::move(value));
                CHECK(sent.error() == std::errc::operation_canceled);
                CHECK(value);
            });
            group.spawn([&]() -> Task<> {
                auto value = std::make_unique<int>(2);
                auto sent = co_await channel.send(std::move(value));
                CHECK(sent.error() == Errc::channel_closed);
                CHECK(value);
            });
            static_cast<void>(co_await yield());
            sender.cancel();
            channel.close();
        });
        CHECK(done);
    });
    CHECK(result);
    auto value = std::make_unique<int>(3);
    CHECK_FALSE(channel.try_send(std::move(value)));
    CHECK(value);
}
