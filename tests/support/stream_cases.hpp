#pragma once

// What every stream promises its handlers (byte_stream.hpp): the cases, for any kind of stream.

#include "net.hpp"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace ringlet::testing {

using namespace std::chrono_literals;

template <class Stream>
using Pair = std::pair<Stream, Stream>;

inline std::vector<std::byte> whole_of(const std::vector<std::byte>& bytes, std::size_t times) {
    std::vector<std::byte> whole;
    for (std::size_t i = 0; i < times; ++i) whole.insert(whole.end(), bytes.begin(), bytes.end());
    return whole;
}

template <ByteSource Source>
Task<std::vector<std::byte>> read_to_end(Source& source) {
    std::vector<std::byte> all;
    for (;;) {
        auto chunk = co_await source.recv();
        CHECK(chunk);
        if (!chunk || chunk->empty()) co_return all;
        all.insert(all.end(), chunk->begin(), chunk->end());
    }
}

// Bytes sent in any way arrive in order, and then the end.
template <ByteStream Stream>
Task<> bytes_arrive_as_they_were_sent(Pair<Stream> pair) {
    auto& [one, other] = pair;
    const auto bytes = pattern(100'003);
    auto send = [&]() -> Task<> {
        auto sent = co_await one.send_all(bytes);
        CHECK(sent);
        sent = co_await one.send_all("text without its NUL");
        CHECK(sent);
        const std::vector<Piece> pieces = {bytes, Piece(), "and", bytes};
        sent = co_await one.send_all(std::span(pieces));
        CHECK(sent);
        const std::span<const std::byte> none;
        sent = co_await one.send_all(none);
        CHECK(sent);
        std::size_t sent_bytes = 0;
        while (sent_bytes < bytes.size()) {
            auto some = co_await one.send_some(std::span(bytes).subspan(sent_bytes));
            CHECK(some);
            if (!some) co_return;
            sent_bytes += *some;
        }
        auto finished = one.shutdown_write();
        CHECK(finished);
    };
    auto receive = [&]() -> Task<> {
        std::vector<std::byte> first(50'000);
        auto exactly = co_await other.recv_exactly(first);
        CHECK(exactly);
        std::vector<std::byte> some(10);
        auto count = co_await other.recv(std::span(some));
        CHECK(count);
        if (!count) co_return;
        some.resize(*count);
        auto all = co_await read_to_end(other);
        const std::string text = "text without its NUL";
        std::vector<std::byte> wanted = bytes;
        for (const char letter : text) wanted.push_back(static_cast<std::byte>(letter));
        wanted.insert(wanted.end(), bytes.begin(), bytes.end());
        for (const char letter : std::string("and"))
            wanted.push_back(static_cast<std::byte>(letter));
        const auto twice = whole_of(bytes, 2);
        wanted.insert(wanted.end(), twice.begin(), twice.end());
        std::vector<std::byte> got = first;
        got.insert(got.end(), some.begin(), some.end());
        got.insert(got.end(), all.begin(), all.end());
        CHECK(got == wanted);
        auto again = co_await other.recv();
        CHECK((again && again->empty()));
        std::byte more[1];
        auto end = co_await other.recv_exactly(more);
        CHECK(end.error() == Errc::end_of_stream);
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(send);
        group.spawn(receive);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
}

// A cancelled receive takes no bytes.
template <ByteStream Stream>
Task<> cancelled_receives_lose_nothing(Pair<Stream> pair) {
    auto& [one, other] = pair;
    const auto bytes = pattern(3000);
    auto send = [&]() -> Task<> {
        for (std::size_t at = 0; at < bytes.size(); at += 100) {
            auto sent = co_await one.send_all(std::span(bytes).subspan(at, 100));
            CHECK(sent);
            auto slept = co_await sleep_for(100us);
            CHECK(slept);
        }
        auto finished = one.shutdown_write();
        CHECK(finished);
    };
    std::vector<std::byte> got;
    auto receive = [&]() -> Task<> {
        for (int round = 0; round < 1'000'000; ++round) {
            auto chunk = co_await with_timeout(50us, other.recv());
            if (chunk.error() == std::errc::timed_out) continue;
            CHECK(chunk);
            if (!chunk || chunk->empty()) co_return;
            got.insert(got.end(), chunk->begin(), chunk->end());
        }
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(send);
        group.spawn(receive);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
    CHECK(got == bytes);
}

// A close ends the other task's receive; the stream is empty afterwards; the peer sees the end.
template <ByteStream Stream>
Task<> a_close_is_told_to_everybody(Pair<Stream> pair) {
    auto& [one, other] = pair;
    std::error_code received;
    auto receive = [&]() -> Task<> {
        auto chunk = co_await one.recv();
        received = chunk.error();
    };
    auto close = [&]() -> Task<> {
        for (int turn = 0; turn < 3; ++turn) {
            auto turned = co_await yield();
            CHECK(turned);
        }
        auto closed = co_await one.close();
        CHECK(closed);
        CHECK_FALSE(static_cast<bool>(one));
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(receive);
        group.spawn(close);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
    CHECK(received == std::errc::operation_canceled);
    auto rest = co_await read_to_end(other);
    CHECK(rest.empty());
}

// After an abort the peer does not wait for ever.
template <ByteStream Stream>
Task<> an_abort_ends_both_sides(Pair<Stream> pair) {
    auto& [one, other] = pair;
    auto sent = co_await one.send_all("half a mess");
    CHECK(sent);
    one.abort();
    CHECK_FALSE(static_cast<bool>(one));
    for (int round = 0; round < 100; ++round) {
        auto chunk = co_await with_timeout(10s, other.recv());
        CHECK(chunk.error() != std::errc::timed_out);
        if (!chunk || chunk->empty()) co_return;
    }
    CHECK_MESSAGE(false, "the peer goes on for ever");
}

// Lines in, lines out.
template <ByteStream Stream>
Task<> lines_go_through(Pair<Stream> pair) {
    auto& [one, other] = pair;
    auto serve = [&]() -> Task<> {
        Reader reader(one);
        Writer writer(one);
        for (;;) {
            auto line = co_await reader.read_line();
            if (!line) {
                CHECK(line.error() == Errc::end_of_stream);
                break;
            }
            auto written = co_await writer.write("<", line->text, ">", line->complete ? "\n" : "");
            CHECK(written);
        }
        auto flushed = co_await writer.flush();
        CHECK(flushed);
        auto finished = one.shutdown_write();
        CHECK(finished);
    };
    auto ask = [&]() -> Task<> {
        auto sent = co_await other.send_all("first\r\nsecond\n\nlast");
        CHECK(sent);
        auto finished = other.shutdown_write();
        CHECK(finished);
        Reader reader(other);
        auto all = co_await reader.read_to_end(1000);
        CHECK(all);
        if (all) CHECK(*all == "<first>\n<second>\n<>\n<last>");
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(serve);
        group.spawn(ask);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
}

/// The cases of the contract, with their names.
template <ByteStream Stream>
struct StreamCase {
    const char* name;
    Task<> (*run)(Pair<Stream>);
};
template <ByteStream Stream>
inline constexpr StreamCase<Stream> stream_cases[] = {
    {"bytes arrive as they were sent", bytes_arrive_as_they_were_sent<Stream>},
    {"cancelled receives lose nothing", cancelled_receives_lose_nothing<Stream>},
    {"a close is told to everybody", a_close_is_told_to_everybody<Stream>},
    {"an abort ends both sides", an_abort_ends_both_sides<Stream>},
    {"lines go through", lines_go_through<Stream>},
};

} // namespace ringlet::testing
