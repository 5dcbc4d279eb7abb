#include <ringlet/pipe.hpp>

#include "death.hpp"
#include "net.hpp"

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include <fcntl.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

TEST_CASE("bytes go through a pipe, more than fit into it, and then the end") {
    auto pipe = make_pipe();
    REQUIRE(pipe);
    const auto bytes = pattern(1'000'003);
    ReportingLoop loop;
    auto talk = [&]() -> Task<> {
        auto& [reader, writer] = *pipe;
        std::vector<std::byte> got;
        auto write = [&]() -> Task<> {
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
        };
        auto read = [&]() -> Task<> {
            std::vector<std::byte> first(100);
            auto exactly = co_await reader.recv_exactly(first);
            CHECK(exactly);
            got = first;
            auto count = co_await reader.recv(std::span(first));
            CHECK(count);
            got.insert(got.end(), first.begin(),
                       first.begin() + static_cast<std::ptrdiff_t>(count ? *count : 0));
            for (;;) {
                auto chunk = co_await reader.recv();
                CHECK(chunk);
                if (!chunk || chunk->empty()) co_return;
                got.insert(got.end(), chunk->begin(), chunk->end());
            }
        };
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
    };
    CHECK(loop->run(talk));
    check_nothing_left(*loop);
}

TEST_CASE("a pipe that nobody reads is an error, and no signal") {
    // In a child: the signal would end this program.
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

TEST_CASE(
    "a cancelled read takes nothing away, and a waiting one holds no buffer but the ring's own") {
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

TEST_CASE("a descriptor that other programs share is not made non-blocking, and blocks nobody") {
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

TEST_CASE("the standard streams are the program's own, under another name") {
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
