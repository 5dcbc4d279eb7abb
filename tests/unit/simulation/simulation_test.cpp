#include <ringlet/testing/simulation.hpp>

#include "base/kernel.hpp"
#include "base/sanitizer.hpp"
#include "death.hpp"
#include "echo.hpp"
#include "net.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <map>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

using RealClock = std::chrono::steady_clock;

std::vector<std::byte> message_of(std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
    return bytes;
}

/// Sends, and receives until the end; what came back must be a prefix of what was sent, or all of it
/// if nothing was lost.
Task<> talk(Simulation* world, TcpStream stream, std::size_t size) {
    const auto sent = message_of(size);
    std::vector<std::byte> got;
    auto send = [&]() -> Task<Result<void>> {
        auto done = co_await stream.send_all(sent);
        if (done) done = stream.shutdown_write();
        co_return done; // a failure also ends the receiving
    };
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(send);
        for (;;) {
            auto chunk = co_await stream.recv();
            if (!chunk || chunk->empty()) break;
            got.insert(got.end(), chunk->begin(), chunk->end());
        }
        group.cancel(); // nothing reads any more: an unfinished send would wait for ever
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
    const bool is_beginning =
        got.size() <= sent.size() && std::equal(got.begin(), got.end(), sent.begin());
    world->check(is_beginning, "other bytes came back than were sent");
    if (world->only_harmless_faults()) world->check(got == sent, "bytes are missing");
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

Task<> visit(Simulation* world, Endpoint server) {
    auto slept = co_await sleep_for(std::chrono::microseconds(world->random(5000)));
    if (!slept) co_return;
    auto stream = co_await TcpStream::connect(server);
    if (!stream) co_return;
    auto talked = co_await with_timeout(
        1min, [&] { return talk(world, std::move(*stream), 1 + world->random(3000)); });
    static_cast<void>(talked);
}

/// A server for two connections at once; it is stopped when its clients have left, and drains.
void serve_clients(Simulation& world) {
    ServeOptions options{.listen = "127.0.0.1:3200", .max_connections = 2};
    options.handle_signals = false;
    auto server = Server::create(options);
    if (!server) return world.check(false, server.error().message());
    struct StopAtEnd {
        Server& server;
        ~StopAtEnd() { server.stop(); }
    };
    auto clients = [&]() -> Task<> {
        const StopAtEnd stop{*server};
        auto all = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 5; ++i) group.spawn(visit, &world, server->local());
            co_return;
        };
        auto done = co_await with_task_group(all, GroupOptions{.on_failure = OnFailure::report});
        static_cast<void>(done);
    };
    server->loop().spawn(clients);
    auto report = server->run(echo);
    world.check(static_cast<bool>(report), report.error().message());
    if (!report) return;
    world.check(report->cancelled_count == 0 || !world.only_harmless_faults(),
                "a connection did not finish in time");
    world.check(report->loop.backend == Backend::simulated, "another backend");
}

Task<> nothing(Simulation&) { co_return; }

/// Runs one seed without faults.
template <class Scenario>
SimulationReport run_once(Scenario scenario, FaultSet faults = FaultSet::none()) {
    return simulate({.seeds = 1, .faults = faults}, scenario);
}

/// The failure message, or nothing.
std::string message_of(const SimulationReport& report) {
    return report.failure ? report.failure->message : "";
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

SimulationTrace into(std::vector<std::string>& lines) {
    return [&lines](std::string_view line) { lines.emplace_back(line); };
}

bool has_line(const std::vector<std::string>& lines, std::string_view part) {
    return std::ranges::any_of(lines, [&](const auto& line) { return contains(line, part); });
}

} // namespace

// ---- that it works ------------------------------------------------------------------------------

TEST_CASE("an echo gives back every byte, whatever happens") {
    auto report = simulate({.seeds = seeds(1000)}, echo_on_a_pair);
    CHECK_MESSAGE(report, report.to_string());
    report = simulate({.seeds = seeds(1000), .faults = FaultSet::harmless()}, echo_on_a_pair);
    CHECK_MESSAGE(report, report.to_string());
}

TEST_CASE("a server serves, drains and stops under every fault, and every fault has struck") {
    auto report = simulate({.seeds = 600}, serve_clients);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(report.seeds == 600);
    CHECK(report.completions > 10'000);
    // It sends no datagrams: their faults have their own test (datagram_test).
    for (std::size_t index = 0; index < fault_count; ++index) {
        const auto fault = static_cast<Fault>(index);
        const bool is_of_streams = fault < Fault::lost_datagram;
        CHECK_MESSAGE((report.faults[index] > 0) == is_of_streams, to_string(fault));
    }
}

// ---- the same again -----------------------------------------------------------------------------

TEST_CASE("the same seed makes the same things happen, and other seeds other things") {
    std::set<std::uint64_t> hashes;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        const SimulateOptions options{.first_seed = seed, .seeds = 1};
        const auto first = simulate(options, serve_clients);
        const auto second = simulate(options, serve_clients);
        CHECK(first.trace_hash == second.trace_hash);
        CHECK(first.completions == second.completions);
        CHECK(first.elapsed == second.elapsed);
        CHECK(first.faults == second.faults);
        hashes.insert(first.trace_hash);
    }
    CHECK(hashes.size() > 25); // seeds without a fault are alike
}

TEST_CASE("several threads get the same results from the same seeds") {
    SimulateOptions options{.first_seed = 100, .seeds = 60};
    const auto alone = simulate(options, serve_clients);
    options.threads = 3;
    const auto together = simulate(options, serve_clients);
    CHECK_MESSAGE(alone, alone.to_string());
    CHECK(alone.to_string() == together.to_string());
    CHECK(alone.trace_hash == together.trace_hash);
    CHECK(alone.faults == together.faults);
    options.threads = 0; // means this thread only
    options.seeds = 2;
    CHECK(simulate(options, serve_clients).seeds == 2);
    options.seeds = 0;
    CHECK(simulate(options, serve_clients).seeds == 0);
}

TEST_CASE("random choices of the test do not depend on the faults") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        std::vector<std::uint64_t> chosen;
        for (const FaultSet faults : {FaultSet::all(), FaultSet::none(), FaultSet::harmless()}) {
            Simulation world(seed, faults);
            std::vector<std::uint64_t> numbers;
            for (int i = 0; i < 20; ++i) numbers.push_back(world.random(1000));
            CHECK(std::ranges::all_of(numbers, [](auto number) { return number < 1000; }));
            if (chosen.empty()) chosen = numbers;
            CHECK(numbers == chosen);
            CHECK(world.seed() == seed);
        }
    }
    check_aborts("asked for a number below 0", [] {
        Simulation world(1);
        static_cast<void>(world.random(0));
    });
}

TEST_CASE("only allowed faults strike") {
    const auto quiet = simulate({.seeds = 50, .faults = FaultSet::none()}, serve_clients);
    CHECK_MESSAGE(quiet, quiet.to_string());
    for (const auto count : quiet.faults) CHECK(count == 0);
    const FaultSet some{Fault::short_recv, Fault::connection_reset};
    const auto report = simulate({.seeds = 50, .faults = some}, serve_clients);
    CHECK_MESSAGE(report, report.to_string());
    for (std::size_t index = 0; index < fault_count; ++index) {
        CHECK((report.faults[index] > 0) == some.has(static_cast<Fault>(index)));
    }
}

// ---- what fails a seed --------------------------------------------------------------------------

TEST_CASE("a failed check fails the seed, and the first message is kept") {
    const auto checks = [](Simulation& world) {
        world.check(true, "fine");
        world.check(false, "the first");
        world.check(false, "the second");
        world.check(true, "fine again");
    };
    CHECK(message_of(run_once(checks)) == "the first");
    CHECK(message_of(run_once(nothing)).empty());
    CHECK(run_once(nothing));
    CHECK_FALSE(run_once(checks));
}

TEST_CASE("a leak fails the seed: a descriptor, a frame, a buffer") {
    const auto descriptor = [](Simulation&) {
        auto fd = Kernel::of_this_thread().open_socket(AF_INET, SOCK_STREAM);
        static_cast<void>(fd->release());
    };
    CHECK(message_of(run_once(descriptor)) == "1 descriptors are left");
    void* frame = nullptr;
    const auto frames = [&](Simulation&) { frame = FramePool::local().allocate(128); };
    CHECK(message_of(run_once(frames)) == "1 coroutine frames, tasks or sockets are left");
    FramePool::local().release(frame, 128);
    std::byte* memory = nullptr;
    const auto buffers = [&](Simulation&) { memory = Buffer::borrow(); };
    CHECK(message_of(run_once(buffers)) == "1 buffers are left");
    Buffer::give_back(memory);
    // A buffer lent before the simulation does not count.
    memory = Buffer::borrow();
    CHECK(run_once(nothing));
    Buffer::give_back(memory);
}

TEST_CASE("an exception of the scenario fails the seed") {
    const auto throws = [](Simulation&) { throw std::runtime_error("no such luck"); };
    CHECK(message_of(run_once(throws)) == "the scenario threw: no such luck");
    const auto throws_later = [](Simulation&) -> Task<> {
        auto slept = co_await sleep_for(1s);
        if (slept) throw std::runtime_error("later");
    };
    CHECK(message_of(run_once(throws_later)) == "the scenario threw: later");
    const auto throws_a_number = [](Simulation&) { throw 7; };
    CHECK(message_of(run_once(throws_a_number)) == "the scenario threw");
}

TEST_CASE("frame_allocation throws once, and std::bad_alloc is accepted only then") {
    const auto throws = [](Simulation&) { throw std::bad_alloc(); };
    CHECK(message_of(run_once(throws)) == "std::bad_alloc");
    int thrown = 0;
    int passed = 0;
    const auto allocates = [&](Simulation& world) {
        int failed = 0;
        for (int i = 0; i < 300; ++i) {
            try {
                FramePool::local().release(FramePool::local().allocate(64), 64);
            } catch (const std::bad_alloc&) {
                ++failed;
                const auto index = static_cast<std::size_t>(Fault::frame_allocation);
                world.check(world.faults()[index] == 1, "it was not counted");
                world.check(!world.only_harmless_faults(), "that is not harmless");
            }
        }
        world.check(failed <= 1, "more than one allocation failed");
        ++(failed > 0 ? thrown : passed);
        if (failed > 0) throw std::bad_alloc(); // as if uncaught
    };
    const FaultSet faults{Fault::frame_allocation};
    const auto report = simulate({.seeds = 100, .faults = faults}, allocates);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(thrown > 10);
    CHECK(passed > 10);
    CHECK(report.faults[static_cast<std::size_t>(Fault::frame_allocation)] ==
          static_cast<std::uint64_t>(thrown));
}

TEST_CASE("tasks that wait for each other fail the seed") {
    const auto waits = [](Simulation&) -> Task<> {
        Event never("that never comes");
        auto told = co_await never.wait();
        static_cast<void>(told);
    };
    const auto report = run_once(waits);
    CHECK(message_of(report) == std::error_code(Errc::would_block_forever).message());
}

TEST_CASE("tasks whose operations can never finish fail the seed, and are named") {
    const auto waits = [](Simulation& world) -> Task<> {
        auto [mine, theirs] = world.pair();
        std::error_code error;
        auto receive = [&]() -> Task<> {
            auto chunk = co_await mine.recv();
            error = chunk.error();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn("receiver", receive);
            co_return;
        };
        auto done = co_await with_task_group(body);
        static_cast<void>(done);
        world.check(error == std::errc::resource_deadlock_would_occur, "another error");
    };
    const auto message = message_of(run_once(waits));
    CHECK(contains(message, "nothing can happen any more, and these wait:"));
    CHECK(contains(message, "task \"receiver\" (simulation_test.cpp:"));
    CHECK(contains(message, "recv on descriptor 1073741824, peer 127.0.0.1:"));
}

TEST_CASE("a server that is never stopped fails the seed, and ends") {
    const auto serves = [](Simulation& world) {
        ServeOptions options;
        options.handle_signals = false;
        auto server = Server::create(options);
        if (!server) return world.check(false, server.error().message());
        auto report = server->run(echo);
        static_cast<void>(report);
    };
    const auto begin = RealClock::now();
    CHECK(contains(message_of(run_once(serves)), "accept on descriptor"));
    CHECK(RealClock::now() - begin < 20s);
}

TEST_CASE("a real descriptor fails the seed") {
    const auto uses_it = [](Simulation&) -> Task<> {
        auto pair = socket_pair();
        TcpStream stream(std::move(pair.first));
        auto chunk = co_await stream.recv();
        static_cast<void>(chunk);
    };
    CHECK(contains(message_of(run_once(uses_it)), "a real descriptor in a simulation"));
}

TEST_CASE("writing to memory while it is sent fails the seed") {
    const auto scribbles = [](Simulation& world) -> Task<> {
        auto [mine, theirs] = world.pair();
        std::vector<std::byte> bytes(300'000); // more than fits
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn([&]() -> Task<Result<void>> {
                auto sent = co_await mine.send_all(bytes);
                co_return sent;
            });
            auto slept = co_await sleep_for(1s);
            static_cast<void>(slept);
            std::ranges::fill(bytes, std::byte{1});
            group.cancel();
        };
        auto done = co_await with_task_group(body);
        static_cast<void>(done);
    };
    CHECK(
        contains(message_of(run_once(scribbles)), "memory was written to while it was lent: send"));
}

// ---- which seed, and again ----------------------------------------------------------------------

TEST_CASE("simulate stops at the first failing seed, says how to repeat it, and it repeats") {
    const auto fails_now_and_then = [](Simulation& world) -> Task<> {
        auto slept = co_await sleep_for(1ms);
        static_cast<void>(slept);
        const bool fails = world.seed() >= 23 && world.seed() % 3 == 0;
        world.check(!fails, "seed " + std::to_string(world.seed()) + " is no good");
    };
    for (const unsigned threads : {1U, 3U}) {
        const auto report =
            simulate({.first_seed = 5, .seeds = 1000, .threads = threads}, fails_now_and_then);
        REQUIRE(report.failure);
        CHECK(report.failure->seed == 24);
        CHECK(report.failure->message == "seed 24 is no good");
        CHECK(report.seeds >= 20);
        CHECK(report.seeds < 20 + 10);
        const std::string text = report.to_string();
        CHECK(text.starts_with("seed 24: seed 24 is no good\n"));
        CHECK(contains(text, "repeat with SimulateOptions{.first_seed = 24, .seeds = 1}"));
    }
    const auto again = simulate({.first_seed = 24, .seeds = 1}, fails_now_and_then);
    CHECK(again.seeds == 1);
    CHECK(message_of(again) == "seed 24 is no good");
    const auto fine = simulate({.first_seed = 25, .seeds = 2}, fails_now_and_then);
    CHECK(fine);
    CHECK(fine.to_string().starts_with("2 seeds, "));
    CHECK(fine.to_string().ends_with(": all is well"));
}

TEST_CASE("of several failing seeds the lowest is reported") {
    const auto fails = [](Simulation& world) {
        // The first seed takes longest.
        if (world.seed() == 1) std::this_thread::sleep_for(100ms);
        world.check(false, "no good");
    };
    const auto report = simulate({.seeds = 50, .threads = 3}, fails);
    REQUIRE(report.failure);
    CHECK(report.failure->seed == 1);
}

TEST_CASE("a failure caused by a fault is the same each time") {
    const auto wants_all = [](Simulation& world) -> Task<> {
        auto [mine, theirs] = world.pair();
        const std::string hello = "hello";
        auto sent = co_await mine.send_all(bytes_of(hello));
        world.check(static_cast<bool>(sent), "send: " + sent.error().message());
        mine = TcpStream(); // so that the other end does not wait for ever
        std::array<std::byte, 5> memory{};
        auto received = co_await theirs.recv(memory);
        const bool whole = received && *received == 5;
        world.check(whole, received ? "a short one" : received.error().message());
    };
    std::set<std::string> messages;
    for (std::uint64_t seed = 1; seed <= seeds(3000); ++seed) {
        const SimulateOptions options{.first_seed = seed, .seeds = 1};
        const auto report = simulate(options, wants_all);
        if (report) continue;
        messages.insert(message_of(report));
        CHECK(message_of(simulate(options, wants_all)) == message_of(report));
    }
    CHECK(messages.size() > 3);
}

TEST_CASE("the trace shows what happens, and when") {
    std::vector<std::string> lines;
    const auto talks = [](Simulation& world) -> Task<> {
        auto [mine, theirs] = world.pair();
        auto slept = co_await sleep_for(1500ms);
        static_cast<void>(slept);
        auto sent = co_await mine.send_all(bytes_of("hello"));
        static_cast<void>(sent);
        auto chunk = co_await theirs.recv();
        world.check(chunk && chunk->size() == 6, "five bytes");
    };
    SimulateOptions options{.seeds = 1, .faults = FaultSet::none(), .trace = into(lines)};
    CHECK_FALSE(simulate(options, talks));
    CHECK(has_line(lines, "    1.5000"));
    CHECK(has_line(lines, " s  send on socket 0: 5"));
    CHECK(has_line(lines, " s  recv on socket 1: 5"));
    CHECK(has_line(lines, " s  FAILED: five bytes"));
}

TEST_CASE("reports of a loop and a server go to the trace, unless they are taken") {
    std::vector<std::string> lines;
    std::vector<std::string> taken;
    {
        Simulation world(1, FaultSet::none(), into(lines));
        auto fails = []() -> Task<Result<void>> { co_return std::errc::broken_pipe; };
        const auto run = [&](LoopOptions options) {
            auto loop = EventLoop::create(std::move(options));
            loop->spawn("unlucky", fails);
            auto ran = loop->run([]() -> Task<> {
                auto slept = co_await sleep_for(1s);
                static_cast<void>(slept);
            });
            CHECK(ran);
        };
        run({});
        CHECK(has_line(lines, "task \"unlucky\""));
        lines.clear();
        run({.report = into(taken)});
        CHECK_FALSE(has_line(lines, "task \"unlucky\""));
        CHECK(has_line(taken, "task \"unlucky\""));
        auto served = serve({.listen = "nowhere"}, echo);
        CHECK_FALSE(served);
        CHECK(has_line(lines, "nowhere: "));
        CHECK(world.verdict().empty());
    }
}

// ---- time, threads, letters ---------------------------------------------------------------------

TEST_CASE("an hour passes at once") {
    const auto real_begin = RealClock::now();
    const auto sleeps = [](Simulation& world) -> Task<> {
        EventLoop& loop = co_await current_loop();
        const auto begin = Clock::now();
        auto slept = co_await sleep_for(1h);
        world.check(static_cast<bool>(slept), "it was cancelled");
        world.check(Clock::now() - begin >= 1h, "it woke too early");
        world.check(Clock::now() - begin < 1h + 1s, "it woke too late");
        world.check(world.elapsed() >= 1h, "elapsed says less");
        world.check(loop.now() == Clock::now(), "the loop has another time");
    };
    for (const FaultSet faults : {FaultSet::none(), FaultSet::harmless()}) {
        const auto report = simulate({.seeds = 20, .faults = faults}, sleeps);
        CHECK_MESSAGE(report, report.to_string());
        CHECK(report.elapsed >= 20h);
        CHECK(report.elapsed < 21h);
    }
    CHECK(RealClock::now() - real_begin < 30s);
}

TEST_CASE("a deadline ends a waiting operation, and a task that yields until then ends") {
    const auto gives_up = [](Simulation& world) -> Task<> {
        auto [mine, theirs] = world.pair();
        auto receive = [&]() -> Task<Result<Buffer>> {
            auto chunk = co_await mine.recv();
            co_return chunk;
        };
        const auto begin = Clock::now();
        auto chunk = co_await with_timeout(1min, receive);
        world.check(chunk.error() == std::errc::timed_out, "another end");
        world.check(Clock::now() - begin >= 1min, "too early");
        const auto moment = Clock::now() + 1ms;
        while (Clock::now() < moment) {
            auto yielded = co_await yield();
            static_cast<void>(yielded);
        }
    };
    const auto report =
        simulate({.seeds = seeds(20), .faults = FaultSet{Fault::late_wake}}, gives_up);
    CHECK_MESSAGE(report, report.to_string());
}

TEST_CASE("run_blocking calls its function at once, on the loop's thread") {
    const auto blocks = [](Simulation& world) -> Task<> {
        auto here = [] { return std::this_thread::get_id(); };
        auto ran_on = co_await run_blocking(here);
        world.check(ran_on && *ran_on == std::this_thread::get_id(), "another thread ran it");
        auto throws = []() -> int { throw std::runtime_error("from the function"); };
        bool thrown = false;
        try {
            auto never = co_await run_blocking(throws);
            static_cast<void>(never);
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        world.check(thrown, "it did not throw");
        world.check(world.elapsed() < 1ms, "time has passed");
    };
    CHECK(message_of(run_once(blocks)).empty());
}

TEST_CASE("a letter from the loop's own thread arrives, whether tasks sleep or not") {
    const auto posts = [](Simulation& world) -> Task<> {
        EventLoop& loop = co_await current_loop();
        bool told = false;
        loop.post([&] { told = true; });
        const auto begin = Clock::now();
        auto slept = co_await sleep_for(1h);
        static_cast<void>(slept);
        world.check(told, "the letter did not come");
        Clock::time_point moment;
        loop.post([&] { moment = Clock::now(); });
        const auto second = Clock::now();
        slept = co_await sleep_for(1h);
        static_cast<void>(slept);
        world.check(moment < second + 1s, "the letter came after the jump");
        world.check(begin < second, "time stood still");
        told = false;
        loop.post([&] { told = true; });
        for (int i = 0; i < 1000 && !told; ++i) {
            auto yielded = co_await yield();
            static_cast<void>(yielded);
        }
        world.check(told, "the letter did not come to those that yield");
    };
    CHECK(message_of(run_once(posts)).empty());
}

TEST_CASE("a server under load can be stopped") {
    const auto serves = [](Simulation& world) {
        ServeOptions options;
        options.handle_signals = false;
        options.drain_timeout = 10ms;
        auto server = Server::create(options);
        if (!server) return world.check(false, server.error().message());
        auto floods = [](TcpStream stream) -> Task<> {
            const std::vector<std::byte> piece(100);
            for (;;) {
                auto sent = co_await stream.send_all(piece);
                if (!sent) co_return;
            }
        };
        auto client = [&]() -> Task<> {
            auto stream = co_await TcpStream::connect(server->local());
            if (!stream) co_return world.check(false, stream.error().message());
            const auto begin = Clock::now();
            bool told = false;
            for (;;) {
                auto chunk = co_await stream->recv();
                if (!chunk || chunk->empty()) co_return;
                if (!told && Clock::now() > begin + 5ms) server->stop();
                told = Clock::now() > begin + 5ms;
                world.check(Clock::now() < begin + 1s, "it does not stop");
                if (Clock::now() > begin + 1s) co_return;
            }
        };
        server->loop().spawn(client);
        auto report = server->run(floods);
        world.check(report && report->cancelled_count == 1, "it was not stopped");
    };
    const auto report = simulate({.seeds = seeds(20), .faults = FaultSet::none()}, serves);
    CHECK_MESSAGE(report, report.to_string());
}

TEST_CASE("a server in a simulation drains when this thread is sent SIGTERM") {
    const auto serves = [](Simulation& world) {
        auto server = Server::create({});
        if (!server) return world.check(false, server.error().message());
        auto client = [&]() -> Task<> {
            auto stream = co_await TcpStream::connect(server->local());
            if (!stream) co_return world.check(false, stream.error().message());
            ::raise(SIGTERM);
            auto slept = co_await sleep_for(1s);
            static_cast<void>(slept);
            auto late = co_await TcpStream::connect(server->local());
            world.check(late.error() == std::errc::connection_refused, "it listens still");
            auto sent = co_await stream->send_all(bytes_of("drains"));
            world.check(static_cast<bool>(sent), "it does not drain");
        };
        server->loop().spawn(client);
        auto report = server->run(echo);
        world.check(report && report->accepted_count == 1 && report->cancelled_count == 0,
                    "it did not wait for its connection");
    };
    CHECK(message_of(run_once(serves)).empty());
}

TEST_CASE("a letter from another thread arrives even if nothing else can happen") {
    const auto waits = [](Simulation& world) -> Task<> {
        auto [mine, theirs] = world.pair();
        EventLoop& loop = co_await current_loop();
        bool told = false;
        const std::jthread other([&loop, &told, &stream = mine] {
            std::this_thread::sleep_for(20ms);
            loop.post([&] {
                told = true;
                static_cast<void>(stream.shutdown_write());
            });
        });
        auto chunk = co_await theirs.recv();
        world.check(told, "the letter did not come");
        world.check(chunk && chunk->empty(), "something else came");
    };
    CHECK(message_of(run_once(waits)).empty());
}

// ---- around it ----------------------------------------------------------------------------------

TEST_CASE("a loop in a simulation reports the simulated backend") {
    Simulation world(1);
    for (const Backend asked : {Backend::automatic, Backend::epoll, Backend::io_uring}) {
        auto loop = EventLoop::create({.backend = asked});
        REQUIRE(loop);
        CHECK(loop->backend().backend == Backend::simulated);
        CHECK_FALSE(loop->backend().refusal);
        CHECK(loop->backend().to_string() == "simulated");
        CHECK(loop->stats().backend == Backend::simulated);
    }
    CHECK(to_string(Backend::simulated) == std::string("simulated"));
    CHECK_FALSE(parse_backend("simulated"));
}

TEST_CASE("a pair is two ends of one connection") {
    Simulation world(1, FaultSet::none());
    {
        const auto [one, other] = world.pair();
        CHECK(one.peer().value() == other.local().value());
        CHECK(other.peer().value() == one.local().value());
        CHECK(one.local().value() != other.local().value());
        CHECK(world.verdict() == "2 descriptors are left");
    }
    CHECK(world.completion_count() == 0);
    CHECK(world.elapsed() == 0s);
}

TEST_CASE("a simulation inside another one ends the program, naming the outer seed") {
    check_aborts("a simulation inside of another one", [] {
        const Simulation world(7);
        const Simulation inside(8);
    });
    check_aborts("in the simulation of seed 7", [] {
        const auto nests = [](Simulation&) { static_cast<void>(simulate({.seeds = 1}, nothing)); };
        static_cast<void>(simulate({.first_seed = 7, .seeds = 1}, nests));
    });
}

TEST_CASE("after a simulation the thread has the real kernel again") {
    const auto before = Clock::now();
    const auto descriptors = descriptor_count();
    Kernel* const real = &Kernel::of_this_thread();
    CHECK(simulate({.seeds = 3}, echo_on_a_pair));
    CHECK(&Kernel::of_this_thread() == real);
    CHECK(Clock::now() - before < 1min);
    CHECK(descriptor_count() == descriptors);
    FramePool::local().release(FramePool::local().allocate(64), 64);
    CHECK(FramePool::local().kept_count() == (address_sanitizer_runs ? 0 : 1));
    auto loop = EventLoop::create();
    REQUIRE(loop);
    CHECK(loop->backend().backend != Backend::simulated);
    auto ran = loop->run([]() -> Task<> {
        auto slept = co_await sleep_for(1ms);
        static_cast<void>(slept);
    });
    CHECK(ran);
}
