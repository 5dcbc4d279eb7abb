#pragma once

// The handler that most tests of streams and servers need, and a wait without a clock.

#include <ringlet/ringlet.hpp>

namespace ringlet::testing {

template <ByteStream Stream>
Task<> echo_all(Stream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;
        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

inline Task<> echo(TcpStream stream) { return echo_all(std::move(stream)); }
inline Task<> echo_any(StreamSocket stream) { return echo_all(std::move(stream)); }

/// Waits until that many operations are in flight.
inline Task<> until_in_flight(EventLoop& loop, std::size_t count) {
    while (loop.stats().operations_in_flight < count) {
        const auto turned = co_await yield();
        if (!turned) co_return;
    }
}

} // namespace ringlet::testing
