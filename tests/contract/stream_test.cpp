// What every stream promises its handlers (byte_stream.hpp): the same cases over every kind, on the kernel that the
// environment names, and in the simulation with faults that lose nothing.

#include "net.hpp"
#include "stream_cases.hpp"

#include <ringlet/testing/simulation.hpp>

#include <functional>
#include <type_traits>
#include <utility>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

/// A user's own stream, wrapped around another one: see docs/guides/streams.md.
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

template <ByteStream Stream>
void try_all(const std::function<Pair<Stream>()>& make) {
    for (const auto& [name, run] : stream_cases<Stream>) {
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
    // The cases check with doctest, so they can only run with faults that cause no error.
    for (const auto& one_case : stream_cases<TcpStream>) {
        CAPTURE(one_case.name);
        auto scenario = [&one_case](Simulation& world) -> Task<> {
            auto [one, other] = world.pair();
            co_await one_case.run(Pair<TcpStream>(std::move(one), std::move(other)));
        };
        auto report = simulate({.seeds = seeds(200), .faults = FaultSet::harmless()}, scenario);
        CHECK_MESSAGE(report, report.to_string());
    }
}
