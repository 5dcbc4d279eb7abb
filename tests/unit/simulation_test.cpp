#include <ringlet/testing/simulation.hpp>

#include "net.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

Task<> echo(TcpStream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;
        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

std::vector<std::byte> message_of(std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
    return bytes;
}

/// Sends, and receives until the end; what came back must be the beginning of what was sent.
Task<> talk(Simulation* world, TcpStream stream, std::size_t size) {
    const auto sent = message_of(size);
    std::vector<std::byte> got;
    auto send = [&]() -> Task<Result<void>> {
        auto done = co_await stream.send_all(sent);
        if (done) done = stream.shutdown_write();
        co_return done; // a failure ends the receiving, too
    };
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(send);
        for (;;) {
            auto chunk = co_await stream.recv();
            if (!chunk || chunk->empty()) break;
            got.insert(got.end(), chunk->begin(), chunk->end());
        }
        group.cancel(); // nobody reads any more: what is still to be sent would wait for ever
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
    const bool is_beginning =
        got.size() <= sent.size() && std::equal(got.begin(), got.end(), sent.begin());
    world->check(is_beginning, "other bytes came back than were sent");
}

Task<> echo_on_a_pair(Simulation& world) {
    auto [mine, theirs] = world.pair();
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(echo, std::move(theirs));
        group.spawn(talk, &world, std::move(mine), 1 + world.random(100'000));
        auto idle = co_await group.wait_until_idle();
        static_cast<void>(idle);
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
}

} // namespace

TEST_CASE("an echo gives back every byte, whatever happens") {
    auto report = simulate({.seeds = 2000}, echo_on_a_pair);
    CHECK_MESSAGE(report, report.to_string());
    MESSAGE(report.to_string());
}
