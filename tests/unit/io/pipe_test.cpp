#include <ringlet/pipe.hpp>

#include "death.hpp"
#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include <fcntl.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

// Writes `bytes`, then a little in every other way, then closes.
Task<> write_all_kinds(PipeWriter& writer, const std::vector<std::byte>& bytes) {
    auto sent = co_await writer.send_all(bytes);
    CHECK(sent);
    sent = co_await writer.send_all("text");
    CHECK(sent);
    const std::vector<Piece> pieces = {"a", "b"};
    sent = co_await writer.send_all(std::span(pieces));
    CHECK(sent);
    auto some = co_await writer.send_some(bytes_of("c"));
    CHECK((some && *some == 1));
    auto closed = co_await writer.close();
    CHECK(closed);
}

Task<std::vector<std::byte>> read_all_kinds(PipeReader& reader) {
    std::vector<std::byte> first(100);
    auto exactly = co_await reader.recv_exactly(first);
    CHECK(exactly);
    std::vector<std::byte> got = first;
    auto count = co_await reader.recv(std::span(first));
    CHECK(count);
    got.insert(got.end(), first.begin(),
               first.begin() + static_cast<std::ptrdiff_t>(count ? *count : 0));
    for (;;) {
        auto chunk = co_await reader.recv();
        CHECK(chunk);
        if (!chunk || chunk->empty()) co_return got;
        got.insert(got.end(), chunk->begin(), chunk->end());
    }
}

Task<> bytes_go_through(std::size_t size_bytes) {
    auto pipe = make_pipe();
    CHECK(pipe);
    if (!pipe) co_return;
    const auto bytes = pattern(size_bytes);
    std::vector<std::byte> got;
    auto write = [&]() -> Task<> { co_await write_all_kinds(pipe->second, bytes); };
    auto read = [&]() -> Task<> { got = co_await read_all_kinds(pipe->first); };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(write);
        group.spawn(read);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
    auto wanted = bytes;
    for (const char letter : std::string("textabc"))
        wanted.push_back(static_cast<std::byte>(letter));
    CHECK(got == wanted);
}

} // namespace

TEST_CASE("more bytes than a pipe holds go through it, and then the end") {
    ReportingLoop loop;
    CHECK(loop->run([] { return bytes_go_through(1'000'003); }));
    check_nothing_left(*loop);
}

TEST_CASE("bytes go through simulated pipes, whose reads and writes are short and late") {
    const auto scenario = [](Simulation&) -> Task<> {
        auto pipe = make_pipe();
        CHECK((pipe && pipe->first.native_handle() >= 1 << 30)); // not a real one
        co_await bytes_go_through(30'003);
    };
    const auto report = simulate({.seeds = 200, .faults = FaultSet::harmless()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    for (const Fault fault : {Fault::short_recv, Fault::short_send, Fault::interrupted}) {
        CHECK(report.faults[static_cast<std::size_t>(fault)] > 0);
    }
}

// A pipe has no resets and no early ends: a prefix of what was written arrives, and every error is one that a pipe
// can have.
TEST_CASE("simulated pipes under every fault") {
    const auto scenario = [](Simulation&) -> Task<> {
        auto pipe = make_pipe();
        if (!pipe) co_return;
        const auto bytes = pattern(20'000);
        std::vector<std::byte> got;
        bool wrote_all = false;
        bool read_to_end = false;
        const auto fits_a_pipe = [](std::error_code error) {
            return error == std::errc::no_buffer_space || error == std::errc::not_enough_memory ||
                   error == std::errc::broken_pipe;
        };
        auto write = [&]() -> Task<> {
            auto sent = co_await pipe->second.send_all(bytes);
            wrote_all = bool(sent);
            CHECK((sent || fits_a_pipe(sent.error())));
            auto closed = co_await pipe->second.close();
            CHECK(closed);
        };
        auto read = [&]() -> Task<> {
            for (;;) {
                auto chunk = co_await pipe->first.recv();
                CHECK((chunk || fits_a_pipe(chunk.error())));
                read_to_end = chunk && chunk->empty();
                if (!chunk || chunk->empty()) break;
                got.insert(got.end(), chunk->begin(), chunk->end());
            }
            auto closed = co_await pipe->first.close();
            CHECK(closed);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(write);
            group.spawn(read);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
        CHECK(got.size() <= bytes.size());
        CHECK(std::equal(got.begin(), got.end(), bytes.begin()));
        if (wrote_all && read_to_end) CHECK(got == bytes);
    };
    const FaultSet faults = FaultSet::all().without(Fault::frame_allocation);
    const auto report = simulate({.seeds = 300, .faults = faults}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(report.faults[static_cast<std::size_t>(Fault::no_memory)] > 0);
    CHECK(report.faults[static_cast<std::size_t>(Fault::connection_reset)] == 0);
}

TEST_CASE("a simulated pipe without a reader refuses a write, and one without a writer has ended") {
    const auto scenario = [](Simulation&) -> Task<> {
        auto pipe = make_pipe();
        auto& [reader, writer] = *pipe;
        auto sent = co_await writer.send_all("never read");
        CHECK(sent);
        auto closed = co_await reader.close();
        CHECK(closed);
        sent = co_await writer.send_all("x");
        CHECK(sent.error() == std::errc::broken_pipe);
        auto other = make_pipe();
        closed = co_await other->second.close();
        CHECK(closed);
        auto end = co_await other->first.recv();
        CHECK((end && end->empty()));
    };
    const auto report = simulate({.seeds = 50, .faults = FaultSet::harmless()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}

TEST_CASE("writing to a pipe without a reader is an error, and raises no signal") {
    // In a child, because the signal would end this program.
    const auto outcome = run_in_child([] {
        std::signal(SIGPIPE, SIG_DFL);
        auto pipe = make_pipe();
        auto loop = EventLoop::create();
        auto talk = [&]() -> Task<int> {
            auto& [reader, writer] = *pipe;
            auto closed = co_await reader.close();
            if (!closed) co_return 1;
            for (int round = 0; round < 3; ++round) {
                auto sent = co_await writer.send_all("x");
                if (sent.error() != std::errc::broken_pipe) co_return 2;
                auto some = co_await writer.send_some(bytes_of("x"));
                if (some.error() != std::errc::broken_pipe) co_return 3;
            }
            sigset_t pending;
            sigemptyset(&pending);
            ::sigpending(&pending);
            co_return sigismember(&pending, SIGPIPE) == 1 ? 4 : 0;
        };
        auto status = loop->run(talk);
        return status ? *status : 5;
    });
    CHECK_MESSAGE(outcome.succeeded(), outcome.to_string());
}

TEST_CASE("a cancelled read of a pipe consumes nothing, and leaves no buffer lent") {
    auto pipe = make_pipe();
    REQUIRE(pipe);
    auto talk = [&]() -> Task<> {
        auto& [reader, writer] = *pipe;
        for (int round = 0; round < 10; ++round) {
            auto nothing = co_await with_timeout(1ms, reader.recv());
            CHECK(nothing.error() == std::errc::timed_out);
        }
        auto sent = co_await writer.send_all("there");
        CHECK(sent);
        auto chunk = co_await reader.recv();
        CHECK((chunk && chunk->text() == "there"));
    };
    CHECK(run_on_loop(talk));
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("a descriptor shared with other programs stays blocking, and does not block the loop") {
    int fds[2] = {-1, -1};
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    const UniqueFd shared(::dup(fds[0]));
    PipeReader reader{UniqueFd(fds[0])};
    PipeWriter writer{UniqueFd(fds[1])};
    auto talk = [&]() -> Task<> {
        int turns = 0;
        auto read = [&]() -> Task<> {
            auto chunk = co_await reader.recv();
            CHECK((chunk && chunk->text() == "late"));
        };
        auto others = [&]() -> Task<> {
            for (; turns < 20; ++turns) {
                auto slept = co_await sleep_for(1ms);
                CHECK(slept);
                CHECK((::fcntl(shared.get(), F_GETFL) & O_NONBLOCK) == 0);
            }
            auto sent = co_await writer.send_all("late");
            CHECK(sent);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(read);
            group.spawn(others);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
        CHECK(turns == 20);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("the standard streams are duplicates of the program's own") {
    auto output = standard_output();
    REQUIRE(output);
    CHECK(output->native_handle() > STDERR_FILENO);
    CHECK(standard_error());
    const auto outcome = run_in_child([] {
        ::close(STDIN_FILENO);
        return standard_input().error() == std::errc::bad_file_descriptor ? 0 : 1;
    });
    CHECK_MESSAGE(outcome.succeeded(), outcome.to_string());
}
