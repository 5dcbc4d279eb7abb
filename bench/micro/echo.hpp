#pragma once

// The handler that is measured.

#include <ringlet/task.hpp>

template <class Stream>
ringlet::Task<> echo(Stream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;

        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}
