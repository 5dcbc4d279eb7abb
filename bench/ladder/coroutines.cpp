// The steps written with ringlet.

#include "ladder.hpp"

#include <ringlet/ringlet.hpp>

#include <chrono>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

Task<> echo(TcpStream stream) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;

        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

// Returns whether the connection continues.
Task<bool> echo_one_message(TcpStream& stream) {
    auto chunk = co_await stream.recv();
    if (!chunk || chunk->empty()) co_return false;

    auto sent = co_await stream.send_all(*chunk);
    co_return sent.has_value();
}

Task<> echo_by_children(TcpStream stream) {
    for (;;) {
        const bool goes_on = co_await echo_one_message(stream);
        if (!goes_on) co_return;
    }
}

Task<> echo_under_timeouts(TcpStream stream) {
    for (;;) {
        auto goes_on = co_await with_timeout(60s, echo_one_message, std::ref(stream));
        if (!goes_on || !*goes_on) co_return;
    }
}

constexpr std::size_t chunks_on_their_way = 4;

Task<> write_all(TcpStream& stream, Channel<Buffer>& chunks) {
    for (;;) {
        auto chunk = co_await chunks.recv();
        if (!chunk) co_return; // closed, and everything is written

        auto sent = co_await stream.send_all(*chunk);
        if (!sent) {
            chunks.close();
            co_return;
        }
    }
}

Task<> read_all(TcpStream& stream, Channel<Buffer>& chunks) {
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) break;

        auto taken = co_await chunks.send(std::move(*chunk));
        if (!taken) break;
    }
    chunks.close();
}

Task<> echo_by_reader_and_writer(TcpStream stream) {
    Channel<Buffer> chunks(chunks_on_their_way);
    auto ended = co_await with_task_group([&](TaskGroup& group) -> Task<> {
        group.spawn(write_all, std::ref(stream), std::ref(chunks));
        return read_all(stream, chunks);
    });
    static_cast<void>(ended);
}

auto handler_of(const std::string& step) {
    if (step == "child") return echo_by_children;
    if (step == "timeout") return echo_under_timeouts;
    if (step == "writer") return echo_by_reader_and_writer;
    return echo;
}

} // namespace

int serve_coroutines(const Settings& settings) {
    FramePool::Audit counted; // while it counts, the pool keeps no blocks
    if (settings.malloc_frames) FramePool::local().audit(&counted);

    ServeOptions options;
    options.listen = "127.0.0.1:" + std::to_string(settings.port);
    options.drain_timeout = 0ms;
    options.loop.backend = settings.backend;
    const int status = exit_status(serve(options, handler_of(settings.step)));

    FramePool::local().audit(nullptr);
    return status;
}
