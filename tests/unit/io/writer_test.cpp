#include <ringlet/writer.hpp>

#include "death.hpp"
#include "net.hpp"

#include <chrono>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// A sink that records each send, and fails on request.
class Noting {
public:
    std::vector<std::string>* sends;
    std::error_code* fails_with;

    Task<Result<std::size_t>> send_some(std::span<const std::byte> bytes) {
        co_return bytes.size();
    }
    Task<Result<void>> send_all(std::span<const std::byte> bytes) {
        auto turned = co_await yield();
        if (!turned) co_return turned;
        if (*fails_with) co_return *fails_with;
        sends->push_back(text_of(bytes));
        co_return Result<void>();
    }
    Task<Result<void>> send_all(std::string_view) { co_return Result<void>(); }
    Task<Result<void>> send_all(std::span<const Piece>) { co_return Result<void>(); }
    Task<Result<void>> close() { co_return Result<void>(); }
};

struct Sink {
    std::vector<std::string> sends;
    std::error_code error;
    Noting noting{&sends, &error};
};

} // namespace

TEST_CASE("what is written in one turn is sent together, without a flush") {
    Sink sink;
    auto talk = [&]() -> Task<> {
        Writer writer(sink.noting);
        for (int i = 0; i < 3; ++i) {
            auto written = co_await writer.write("line ", std::to_string(i), "\n");
            CHECK(written);
        }
        CHECK(writer.unsent_bytes() == 21);
        auto slept = co_await sleep_for(1ms);
        CHECK(slept);
        CHECK(writer.unsent_bytes() == 0);
        CHECK(sink.sends == std::vector<std::string>{"line 0\nline 1\nline 2\n"});
        auto written = co_await writer.write("last");
        CHECK(written);
        auto flushed = co_await writer.flush();
        CHECK(flushed);
        CHECK(sink.sends.back() == "last");
        flushed = co_await writer.flush();
        CHECK(flushed);
        CHECK(sink.sends.size() == 2);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("an error of a late send is returned by the next call, and by all that follow") {
    Sink sink;
    auto talk = [&]() -> Task<> {
        Writer writer(sink.noting);
        sink.error = std::make_error_code(std::errc::broken_pipe);
        auto written = co_await writer.write("lost");
        CHECK(written);
        auto slept = co_await sleep_for(1ms);
        CHECK(slept);
        written = co_await writer.write("more");
        CHECK(written.error() == std::errc::broken_pipe);
        sink.error = {};
        auto flushed = co_await writer.flush();
        CHECK(flushed.error() == std::errc::broken_pipe);
        auto sent = co_await writer.send_all("body");
        CHECK(sent.error() == std::errc::broken_pipe);
    };
    CHECK(run_on_loop(talk));
    CHECK(sink.sends.empty());
}

TEST_CASE("a large body is sent after earlier writes, without a copy") {
    Sink sink;
    auto talk = [&]() -> Task<> {
        Writer writer(sink.noting);
        auto written = co_await writer.write("head");
        CHECK(written);
        const std::string body(100'000, 'b');
        auto sent = co_await writer.send_all(body);
        CHECK(sent);
        written = co_await writer.write("tail");
        CHECK(written);
        auto flushed = co_await writer.flush();
        CHECK(flushed);
        CHECK(sink.sends == std::vector<std::string>{"head", body, "tail"});
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a writer waits at its limit until its peer reads") {
    auto pair = socket_pair();
    UnixStream stream(std::move(pair.first));
    UnixStream peer(std::move(pair.second));
    std::size_t received = 0;
    const std::string block(10'000, 'x');
    auto talk = [&]() -> Task<> {
        Writer writer(stream);
        std::size_t written_bytes = 0;
        auto write = [&]() -> Task<Result<void>> {
            auto written = co_await writer.write(block);
            if (written) written_bytes += block.size();
            co_return written;
        };
        // Until the socket and the writer are full.
        for (;;) {
            auto written = co_await with_timeout(50ms, write);
            if (written) continue;
            CHECK(written.error() == std::errc::timed_out);
            written_bytes += block.size(); // it was accepted; only the wait for room was cut short
            break;
        }
        CHECK(writer.unsent_bytes() > Writer<UnixStream>::limit_bytes);
        auto receive = [&]() -> Task<> {
            while (received < written_bytes) {
                auto chunk = co_await peer.recv();
                CHECK(chunk);
                if (!chunk || chunk->empty()) co_return;
                received += chunk->size();
            }
        };
        auto flush = [&]() -> Task<> {
            auto flushed = co_await writer.flush();
            CHECK(flushed);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(receive);
            group.spawn(flush);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
        CHECK(received == written_bytes);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a writer destroyed with unsent bytes is reported, and no longer used") {
    std::vector<std::string> lines;
    LoopOptions options;
    options.report = [&](std::string_view line) { lines.emplace_back(line); };
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    auto pair = socket_pair();
    auto talk = [&]() -> Task<> {
        UnixStream stream(std::move(pair.first));
        Writer writer(stream);
        auto written = co_await writer.write("never sent");
        CHECK(written);
    };
    CHECK(loop->run(talk));
    REQUIRE(lines.size() == 1);
    CHECK(lines.front().find("flush()") != std::string::npos);
    check_nothing_left(*loop);
}

TEST_CASE("a write in a cancelled task is refused") {
    Sink sink;
    auto talk = [&]() -> Task<> {
        Writer writer(sink.noting);
        auto write = [&]() -> Task<Result<void>> {
            auto written = co_await writer.write("a");
            if (!written) co_return written;
            auto slept = co_await sleep_for(1h);
            CHECK_FALSE(slept);
            written = co_await writer.write("b");
            CHECK(written.error() == std::errc::operation_canceled);
            co_return written;
        };
        auto done = co_await with_timeout(1ms, write);
        CHECK(done.error() == std::errc::timed_out);
        auto flushed = co_await writer.flush();
        CHECK(flushed);
        CHECK(sink.sends == std::vector<std::string>{"a"});
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("what is written while a large body is sent follows it, without a flush") {
    Sink sink;
    auto talk = [&]() -> Task<> {
        Writer writer(sink.noting);
        const std::string body(100'000, 'b');
        auto send = [&]() -> Task<> {
            auto sent = co_await writer.send_all(body);
            CHECK(sent);
        };
        auto write = [&]() -> Task<> {
            auto written = co_await writer.write("after");
            CHECK(written);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(send);
            group.spawn(write); // in the same turn: the body is being sent
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
        auto slept = co_await sleep_for(1ms);
        CHECK(slept);
        CHECK(sink.sends == std::vector<std::string>{body, "after"});
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a send that throws fails the flush that waits for it, and every later write") {
    struct Throwing : Noting {
        Task<Result<void>> send_all(std::span<const std::byte>) {
            auto turned = co_await yield();
            static_cast<void>(turned);
            throw std::bad_alloc();
        }
        using Noting::send_all;
    };
    ReportingLoop loop; // the sending task fails, and is reported
    Sink sink;
    Throwing throwing{{&sink.sends, &sink.error}};
    auto talk = [&]() -> Task<> {
        Writer writer(throwing);
        auto written = co_await writer.write("lost");
        CHECK(written);
        auto flushed = co_await writer.flush();
        CHECK_FALSE(flushed);
        written = co_await writer.write("more");
        CHECK_FALSE(written);
    };
    CHECK(loop->run(talk));
    CHECK(loop.reports.size() == 1);
}
