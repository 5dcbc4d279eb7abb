#include <ringlet/tls_stream.hpp>

#include "tls_pair.hpp"

#include <ringlet/testing/simulation.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

// After a failure the server aborts, so that the client sees no clean end.
Task<> echo_and_close(TlsStream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk) break;
        if (chunk->empty()) {
            auto closed = co_await stream.close(); // a drop sends close_notify only if it fits
            static_cast<void>(closed);
            co_return;
        }
        auto sent = co_await stream.send_all(*chunk);
        if (!sent) break;
    }
    stream.abort();
}

/// What a client sends and gets back, over a connection that any fault may strike.
struct Talk {
    std::vector<std::byte> bytes;
    std::vector<std::byte> back;
    bool shook_hands = false;
    bool ended_well = false;
    std::string why;
};

Task<> talk_to_echo(Simulation& world, Talk& talk) {
    auto [one, other] = world.pair();
    auto serve_it = [&]() -> Task<> {
        TlsContext context = contexts().server;
        auto stream = co_await TlsStream::accept(std::move(other), std::move(context));
        if (!stream) co_return;
        co_await echo_and_close(std::move(*stream));
    };
    auto ask = [&]() -> Task<> {
        TlsContext context = contexts().client;
        auto stream = co_await TlsStream::connect(std::move(one), std::move(context), "localhost");
        if (!stream) talk.why = "connect: " + stream.error().message();
        if (!stream) co_return;
        talk.shook_hands = true;
        auto send = [&]() -> Task<Result<void>> {
            auto sent = co_await stream->send_all(talk.bytes);
            if (!sent) co_return sent;
            co_return stream->shutdown_write();
        };
        auto receive = [&]() -> Task<Result<void>> {
            for (;;) {
                auto chunk = co_await stream->recv();
                if (!chunk) co_return chunk.error();
                if (chunk->empty()) co_return Result<void>();
                talk.back.insert(talk.back.end(), chunk->begin(), chunk->end());
            }
        };
        auto [sent, received] = co_await when_all(send(), receive());
        talk.ended_well = sent && received;
        talk.why = "send: " + sent.error().message() + ", receive: " + received.error().message();
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(serve_it);
        group.spawn(ask);
        co_return;
    };
    auto done = co_await with_task_group(both);
    static_cast<void>(done);
}

void check_talk(const Talk& talk) {
    CHECK(talk.back.size() <= talk.bytes.size());
    CHECK(std::equal(talk.back.begin(), talk.back.end(), talk.bytes.begin()));
    // close_notify is authenticated: after a clean end everything has come back.
    if (talk.ended_well) CHECK(talk.back == talk.bytes);
}

} // namespace

TEST_CASE("a thousand seeds with every fault: the bytes that arrive are a prefix of those sent") {
    std::uint64_t ended_well = 0;
    std::uint64_t broke_off = 0;
    auto scenario = [&](Simulation& world) -> Task<> {
        Talk talk;
        talk.bytes = pattern(world.random(60'000));
        co_await talk_to_echo(world, talk);
        check_talk(talk);
        if (world.only_harmless_faults()) CHECK_MESSAGE(talk.ended_well, talk.why);
        ++(talk.ended_well ? ended_well : broke_off);
    };
    const FaultSet faults = FaultSet::all().without(Fault::frame_allocation);
    const auto report = simulate({.seeds = seeds(1000), .faults = faults}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(ended_well > seeds(100));
    CHECK(broke_off > seeds(100));
    CHECK(Buffer::lent_count() == 0);
}

TEST_CASE("a failed frame allocation ends one connection, and leaks nothing") {
    auto scenario = [&](Simulation& world) -> Task<> {
        Talk talk;
        talk.bytes = pattern(world.random(5'000));
        try {
            co_await talk_to_echo(world, talk);
        } catch (const std::bad_alloc&) {
            co_return;
        }
        check_talk(talk);
    };
    const auto report =
        simulate({.seeds = 200, .faults = FaultSet{Fault::frame_allocation}}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(Buffer::lent_count() == 0);
}

// Everything is cancelled after so many microseconds: in the handshake, in the talk, in the close.
TEST_CASE("a connection that is cancelled at any moment leaves nothing behind") {
    bool in_handshake = false;
    bool after_it = false;
    for (int moment_us = 0; moment_us < 400; ++moment_us) {
        auto scenario = [&](Simulation& world) -> Task<> {
            Talk talk;
            talk.bytes = pattern(20'000);
            auto run = [&]() -> Task<> { co_await talk_to_echo(world, talk); };
            auto ended = co_await with_timeout(std::chrono::microseconds(moment_us), run);
            check_talk(talk);
            if (!ended) (talk.shook_hands ? after_it : in_handshake) = true;
        };
        const auto report = simulate({.first_seed = static_cast<std::uint64_t>(moment_us) + 1,
                                      .seeds = seeds(3),
                                      .faults = FaultSet::harmless()},
                                     scenario);
        CHECK_MESSAGE(report, report.to_string());
    }
    CHECK(in_handshake);
    CHECK(after_it);
    CHECK(Buffer::lent_count() == 0);
}
