// Tests a handler against a thousand kernels and networks that misbehave: handler_test [SEED]
//
// The handler answers each line with its length. In a simulation its lines come in pieces, its sends
// go out in parts, its peer vanishes, memory runs out; and a seed that fails can be repeated.
// docs/guides/testing.md explains it.

#include <ringlet/ringlet.hpp>
#include <ringlet/testing/simulation.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

using namespace ringlet;
using testing::Simulation;

namespace {

std::string_view text_of(const Buffer& buffer) {
    return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

// ---- what is tested -----------------------------------------------------------------------------

Task<> answer_with_lengths(TcpStream stream) {
    std::size_t length = 0;
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;
        std::string answers;
        for (const char letter : text_of(*chunk)) {
            ++length;
            if (letter == '\n') answers += std::to_string(std::exchange(length, 0) - 1) + "\n";
        }
        auto sent = co_await stream.send_all(answers);
        if (!sent) co_return;
    }
}

// ---- the test -----------------------------------------------------------------------------------

Task<> scenario(Simulation& world) {
    auto [client, server] = world.pair();
    std::string sent;
    std::string expected;
    for (std::uint64_t lines = 1 + world.random(50); lines > 0; --lines) {
        const std::size_t length = world.random(2000);
        sent += std::string(length, 'x') + "\n";
        expected += std::to_string(length) + "\n";
    }

    std::string received;
    auto send = [&]() -> Task<Result<void>> {
        auto done = co_await client.send_all(sent);
        if (done) done = client.shutdown_write();
        co_return done; // a failure cancels the others
    };
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(answer_with_lengths, std::move(server));
        group.spawn(send);
        for (;;) {
            auto chunk = co_await client.recv();
            if (!chunk || chunk->empty()) break;
            received += text_of(*chunk);
        }
        group.cancel(); // no task reads any more
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done); // connections may fail; only the replies count

    world.check(expected.starts_with(received), "a wrong answer");
    if (world.only_harmless_faults()) world.check(received == expected, "answers are missing");
}

} // namespace

int main(int argc, char** argv) {
    testing::SimulateOptions options;
    if (argc > 1) { // one seed, and what happens in it
        options.first_seed = std::strtoull(argv[1], nullptr, 10);
        options.seeds = 1;
        options.trace = [](std::string_view line) {
            std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
        };
    }
    const auto report = testing::simulate(options, scenario);
    std::puts(report.to_string().c_str());
    return report ? 0 : 1;
}
