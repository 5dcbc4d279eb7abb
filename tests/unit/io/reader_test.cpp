#include <ringlet/reader.hpp>

#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// A source that gives these pieces one by one; with `interrupts`, every other receive is cancelled.
class Scripted {
public:
    explicit Scripted(std::vector<std::string> pieces, bool interrupts = false)
        : pieces_(std::move(pieces)), interrupts_(interrupts) {}

    Task<Result<Buffer>> recv() {
        if (interrupts_ && std::exchange(cancelled_next_, !cancelled_next_))
            co_return std::errc::operation_canceled;
        if (next_ == pieces_.size()) co_return Buffer();
        const std::string& piece = pieces_[next_++];
        Buffer buffer(Buffer::borrow(), piece.size());
        std::copy_n(reinterpret_cast<const std::byte*>(piece.data()), piece.size(), buffer.data());
        co_return buffer;
    }
    Task<Result<std::size_t>> recv(std::span<std::byte> memory) {
        if (interrupts_ && std::exchange(cancelled_next_, !cancelled_next_))
            co_return std::errc::operation_canceled;
        if (next_ == pieces_.size()) co_return std::size_t{0};
        std::string& piece = pieces_[next_];
        const std::size_t count = std::min(piece.size(), memory.size());
        std::copy_n(reinterpret_cast<const std::byte*>(piece.data()), count, memory.data());
        piece.erase(0, count);
        if (piece.empty()) ++next_;
        co_return count;
    }
    Task<Result<void>> recv_exactly(std::span<std::byte>) { co_return Result<void>(); }
    Task<Result<void>> close() { co_return Result<void>(); }

private:
    std::vector<std::string> pieces_;
    std::size_t next_ = 0;
    bool interrupts_;
    bool cancelled_next_ = true;
};

// Cuts a text; bit i of `cuts` says whether to cut after letter i.
std::vector<std::string> cut(const std::string& text, unsigned cuts) {
    std::vector<std::string> pieces(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        pieces.back() += text[i];
        if ((cuts >> i & 1) != 0 && i + 1 < text.size()) pieces.emplace_back();
    }
    return pieces;
}

// Retries for as long as the call is cancelled.
template <class T, class Ask>
Task<Result<T>> insist(Ask ask) {
    for (;;) {
        auto answer = co_await ask();
        if (answer.error() == std::errc::operation_canceled) continue;
        co_return answer;
    }
}

Task<std::vector<std::string>> lines_of(Scripted source, std::string delimiter) {
    Reader reader(source);
    std::vector<std::string> lines;
    for (;;) {
        auto ask = [&] { return reader.read_until(delimiter); };
        auto line = co_await insist<ReceivedLine>(ask);
        if (!line) {
            CHECK(line.error() == Errc::end_of_stream);
            co_return lines;
        }
        lines.push_back(std::string(line->text) + (line->complete ? "." : "!"));
    }
}

} // namespace

TEST_CASE(
    "a reader returns the same lines however the bytes are split, with cancellations or without") {
    struct Text {
        std::string text;
        std::string delimiter;
        std::vector<std::string> lines;
    };
    const Text texts[] = {
        {"a\nbc\n\nd", "\n", {"a.", "bc.", ".", "d!"}},
        {"a\r\nb\rc\r\n", "\r\n", {"a.", "b\rc."}},
        {"aab-aaab-ab", "aab", {".", "-a.", "-ab!"}},
        {"ababac", "abac", {"ab."}},
        {"", "x", {}},
    };
    for (const auto& [text, delimiter, lines] : texts) {
        for (unsigned cuts = 0; cuts < 1U << std::max<std::size_t>(text.size(), 1); ++cuts) {
            const auto pieces = text.empty() ? std::vector<std::string>() : cut(text, cuts);
            for (const bool interrupts : {false, true}) {
                auto got = run_on_loop(lines_of, Scripted(pieces, interrupts), delimiter);
                REQUIRE(got);
                REQUIRE(*got == lines);
            }
        }
    }
}

TEST_CASE("a reader mixes lines, counted bytes and peeks, however the bytes are split") {
    const std::string text = "12\nhello worldXrest";
    auto talk = [](Scripted source) -> Task<std::string> {
        Reader reader(source);
        auto line = co_await insist<ReceivedLine>([&] { return reader.read_line(); });
        REQUIRE(line);
        std::string got(line->text);
        auto seen = co_await insist<std::span<const std::byte>>([&] { return reader.peek(5); });
        REQUIRE(seen);
        got += "|" + text_of(*seen);
        std::vector<std::byte> body(11);
        auto read = co_await insist<void>([&] { return reader.read_exactly(body); });
        REQUIRE(read);
        got += "|" + text_of(body);
        reader.unread("Y");
        auto skipped = co_await insist<void>([&] { return reader.skip(1); });
        REQUIRE(skipped);
        auto over = co_await insist<void>([&] { return reader.skip_until("X"); });
        REQUIRE(over);
        auto rest = co_await insist<std::string>([&] { return reader.read_to_end(100); });
        REQUIRE(rest);
        co_return got + "|" + *rest;
    };
    for (unsigned cuts = 0; cuts < 1U << text.size(); cuts += 997) {
        for (const bool interrupts : {false, true}) {
            auto got = run_on_loop(talk, Scripted(cut(text, cuts), interrupts));
            REQUIRE(got);
            REQUIRE(*got == "12|hello|hello world|rest");
        }
    }
}

TEST_CASE("a line beyond the limit is refused without being consumed, and can be skipped") {
    auto talk = [](Scripted source) -> Task<> {
        Reader reader(source);
        auto line = co_await reader.read_line(5);
        CHECK(line.error() == Errc::message_too_long);
        CHECK(line.error() == std::errc::message_size);
        auto again = co_await reader.read_line(5);
        CHECK(again.error() == Errc::message_too_long);
        auto skipped = co_await reader.skip_until("\n");
        CHECK(skipped);
        auto next = co_await reader.read_line(5);
        REQUIRE(next);
        CHECK(next->text == "12345");
        auto last = co_await reader.read_line(5);
        CHECK(last.error() == Errc::message_too_long);
        auto none = co_await reader.skip_until("\n");
        CHECK(none.error() == Errc::end_of_stream);
        auto end = co_await reader.read_line(5);
        CHECK(end.error() == Errc::end_of_stream);
    };
    CHECK(run_on_loop(talk, Scripted({"123456\n12345\n1234567"})));
    CHECK(run_on_loop(talk, Scripted({"1234", "56", "\n1234", "5\n", "1234567"})));
}

TEST_CASE("a message cut off by the end is message_truncated, and its bytes can still be read") {
    auto talk = []() -> Task<> {
        Scripted source({"abc"});
        Reader reader(source);
        std::vector<std::byte> memory(5);
        auto read = co_await reader.read_exactly(memory);
        CHECK(read.error() == Errc::message_truncated);
        auto seen = co_await reader.peek(4);
        CHECK(seen.error() == Errc::message_truncated);
        auto too_much = co_await reader.peek(Reader<Scripted>::default_limit + 1);
        CHECK(too_much.error() == Errc::message_too_long);
        CHECK(reader.buffered_bytes() == 3);
        auto count = co_await reader.read_some(memory);
        REQUIRE(count);
        CHECK(*count == 3);
        count = co_await reader.read_some(memory);
        REQUIRE(count);
        CHECK(*count == 0);
        read = co_await reader.read_exactly(memory);
        CHECK(read.error() == Errc::end_of_stream);
        seen = co_await reader.peek(1);
        CHECK(seen.error() == Errc::end_of_stream);
        auto skipped = co_await reader.skip(1);
        CHECK(skipped.error() == Errc::message_truncated);
        auto nothing = co_await reader.skip(0);
        CHECK(nothing);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a waiting reader holds no buffer, and resumes with the bytes that it has") {
    auto pair = socket_pair();
    UnixStream stream(std::move(pair.first));
    const auto write = [fd = pair.second.get()](std::string_view text) {
        REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    };
    auto talk = [&]() -> Task<> {
        EventLoop& loop = co_await current_loop();
        const auto before = Buffer::lent_count();
        Reader reader(stream);
        write("a line\nand the beginning of ");
        auto line = co_await reader.read_line();
        REQUIRE(line);
        CHECK(line->text == "a line");
        auto waiting = [&]() -> Task<> {
            auto next = co_await reader.read_line();
            REQUIRE(next);
            CHECK(next->text == "and the beginning of another");
        };
        auto look = [&]() -> Task<> {
            while (loop.stats().operations_in_flight < 1) {
                auto turned = co_await yield();
                CHECK(turned);
            }
            CHECK(Buffer::lent_count() == before);
            write("another\nhead\r\n\r\nbody");
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(waiting);
            group.spawn(look);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
        auto head = co_await reader.read_until("\r\n\r\n");
        REQUIRE(head);
        CHECK(head->text == "head");
        auto rest = co_await reader.recv();
        REQUIRE(rest);
        CHECK(rest->text() == "body");
        write("more");
        auto more = co_await reader.recv();
        REQUIRE(more);
        CHECK(more->text() == "more");
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("reads that never wait still let other tasks run") {
    auto talk = []() -> Task<> {
        std::string text;
        for (int i = 0; i < 3000; ++i) text += "x\n";
        Scripted source({text});
        Reader reader(source);
        int others = 0;
        auto other = [&]() -> Task<> {
            for (;;) {
                auto turned = co_await yield();
                if (!turned) co_return;
                ++others;
            }
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(other);
            for (int i = 0; i < 3000; ++i) {
                auto line = co_await reader.read_line();
                CHECK(line);
            }
            group.cancel();
        };
        auto done = co_await with_task_group(body);
        CHECK(done);
        CHECK(others >= 10);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("in the simulation every line arrives once, despite short, late and cancelled receives") {
    auto scenario = [](Simulation& world) -> Task<> {
        auto [one, other] = world.pair();
        const int count = 50;
        auto send = [&]() -> Task<> {
            std::string text;
            for (int i = 0; i < count; ++i) {
                text += std::to_string(i) + std::string(world.random(40), 'x') + "\r\n";
            }
            auto sent = co_await one.send_all(text);
            world.check(static_cast<bool>(sent), "the lines are sent");
            auto finished = one.shutdown_write();
            world.check(static_cast<bool>(finished), "the end is sent");
        };
        auto receive = [&]() -> Task<> {
            Reader reader(other);
            int expected = 0;
            for (int round = 0; round < 1'000'000; ++round) {
                auto line = co_await with_timeout(std::chrono::microseconds(world.random(300)),
                                                  reader.read_line());
                if (line.error() == std::errc::timed_out) continue;
                if (!line) {
                    world.check(line.error() == Errc::end_of_stream, line.error().message());
                    break;
                }
                world.check(line->text.starts_with(std::to_string(expected)), "in order");
                ++expected;
            }
            world.check(expected == count, "all lines came");
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(send);
            group.spawn(receive);
            co_return;
        };
        auto done = co_await with_task_group(both);
        world.check(static_cast<bool>(done), "both ended");
    };
    auto report = simulate({.seeds = 300, .faults = FaultSet::harmless()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}
