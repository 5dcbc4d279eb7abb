#pragma once

// The handler that most tests of streams and servers need.

#include <ringlet/ringlet.hpp>

namespace ringlet::testing {

inline Task<> echo(TcpStream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;
        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

} // namespace ringlet::testing
