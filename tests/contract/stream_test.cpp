// What every stream promises its handlers (byte_stream.hpp): the same cases over every kind, on the kernel that the
// environment names, and in the simulation with faults that lose nothing.

#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <chrono>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// A stream as a user writes one, around another: see docs/guides/streams.md.
template <ByteStream Inner>
class Tallied : public StreamAdapter<Tallied<Inner>> {
public:
    using StreamAdapter<Tallied<Inner>>::send_all;

    Tallied() = default;
    explicit Tallied(Inner inner) : inner_(std::move(inner)) {}

    Task<Result<Buffer>> recv() {
        auto chunk = co_await inner_.recv();
        if (chunk) received_bytes += chunk->size();
        co_return chunk;
    }
    Task<Result<std::size_t>> recv(std::span<std::byte> memory) {
        auto count = co_await inner_.recv(memory);
        if (count) received_bytes += *count;
        co_return count;
    }
    Task<Result<void>> send_all(std::span<const std::byte> bytes) {
        auto sent = co_await inner_.send_all(bytes);
        co_return sent;
    }
    Result<void> shutdown_write() { return inner_.shutdown_write(); }
    auto close() { return inner_.close(); }
    void abort() noexcept { inner_.abort(); }
    explicit operator bool() const noexcept { return static_cast<bool>(inner_); }

    std::size_t received_bytes = 0;

private:
    Inner inner_;
};

static_assert(ByteStream<StreamSocket> && ByteStream<TcpStream> && ByteStream<UnixStream>);
static_assert(ByteStream<AnyStream> && ByteStream<Tallied<TcpStream>> &&
              ByteStream<Tallied<AnyStream>>);
static_assert(ByteSource<PipeReader> && ByteSink<PipeWriter>);
static_assert(!ByteSink<PipeReader> && !ByteSource<PipeWriter> && !ByteStream<PipeWriter>);
static_assert(!ByteSource<int> && !ByteSource<File> && !ByteStream<DatagramSocket>);

template <class Stream>
using Pair = std::pair<Stream, Stream>;

std::vector<std::byte> whole_of(const std::vector<std::byte>& bytes, std::size_t times) {
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

// ---- the cases ----------------------------------------------------------------------------------

// However they are sent, the bytes arrive in order, and then the end.
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

// A receive that is cancelled takes nothing away.
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

// The other task learns of a close; the stream is empty afterwards; the peer sees the end.
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

// ---- the kinds ----------------------------------------------------------------------------------

template <ByteStream Stream>
void try_all(const std::function<Pair<Stream>()>& make) {
    using Case = Task<> (*)(Pair<Stream>);
    const std::pair<const char*, Case> cases[] = {
        {"bytes arrive as they were sent", bytes_arrive_as_they_were_sent<Stream>},
        {"cancelled receives lose nothing", cancelled_receives_lose_nothing<Stream>},
        {"a close is told to everybody", a_close_is_told_to_everybody<Stream>},
        {"an abort ends both sides", an_abort_ends_both_sides<Stream>},
        {"lines go through", lines_go_through<Stream>},
    };
    for (const auto& [name, run] : cases) {
        CAPTURE(name);
        waiting_for(name);
        auto loop = EventLoop::create();
        REQUIRE(loop);
        auto ran = loop->run(run, make());
        CHECK(ran);
        check_nothing_left(*loop);
    }
}

Pair<TcpStream> tcp_streams() {
    auto fds = tcp_pair();
    return {TcpStream(std::move(fds.first)), TcpStream(std::move(fds.second))};
}

} // namespace

TEST_CASE("every stream keeps the contract: TcpStream") { try_all<TcpStream>(tcp_streams); }

TEST_CASE("every stream keeps the contract: UnixStream") {
    try_all<UnixStream>([] { return std::move(*UnixStream::pair()); });
}

TEST_CASE("every stream keeps the contract: StreamSocket") {
    try_all<StreamSocket>([]() -> Pair<StreamSocket> {
        auto [one, other] = tcp_streams();
        return {std::move(one), std::move(other)};
    });
}

TEST_CASE("every stream keeps the contract: AnyStream") {
    try_all<AnyStream>([]() -> Pair<AnyStream> {
        auto [one, other] = tcp_streams();
        return {AnyStream(std::move(one)), AnyStream(std::move(other))};
    });
}

TEST_CASE("every stream keeps the contract: one that a user wrote") {
    try_all<Tallied<TcpStream>>([]() -> Pair<Tallied<TcpStream>> {
        auto [one, other] = tcp_streams();
        return {Tallied(std::move(one)), Tallied(std::move(other))};
    });
}

TEST_CASE("every stream keeps the contract: in the simulation, with faults that lose nothing") {
    // The contract's own checks are doctest's: no scenario may end early for one that an expected fault explains.
    const auto run_case = [](auto run) {
        auto scenario = [run](Simulation& world) -> Task<> {
            auto [one, other] = world.pair();
            co_await run(Pair<TcpStream>(std::move(one), std::move(other)));
        };
        auto report = simulate({.seeds = 200, .faults = FaultSet::harmless()}, scenario);
        CHECK_MESSAGE(report, report.to_string());
    };
    run_case(bytes_arrive_as_they_were_sent<TcpStream>);
    run_case(cancelled_receives_lose_nothing<TcpStream>);
    run_case(a_close_is_told_to_everybody<TcpStream>);
    run_case(an_abort_ends_both_sides<TcpStream>);
    run_case(lines_go_through<TcpStream>);
}
