// Forwards connections to another server: port_forwarder LISTEN_HOST:PORT TARGET_HOST:PORT
//
// A group of two tasks per connection, one for each direction. A stream takes one receive and one
// send at a time, so the two never get in each other's way. The streams belong to the coroutine that
// waits for the group. The first direction that fails cancels the other.
//
// Try it:  ./example_echo_server &  ./example_port_forwarder 127.0.0.1:3203 127.0.0.1:3200 &
//          echo hello | socat - TCP:127.0.0.1:3203

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <cstdio>

using namespace ringlet;

namespace {

// One direction. Its end is passed on as a half-close, and the other direction continues.
Task<Result<void>> forward(TcpStream* from, TcpStream* to) {
    for (;;) {
        auto chunk = co_await from->recv();
        if (!chunk) co_return chunk.error();
        if (chunk->empty()) co_return to->shutdown_write();
        auto sent = co_await to->send_all(*chunk);
        if (!sent) co_return sent.error();
    }
}

Task<> serve_client(TcpStream client, Endpoint target) {
    auto server = co_await TcpStream::connect(target);
    if (!server) {
        EventLoop& loop = co_await current_loop();
        loop.report(target.to_string() + ": " + server.error().message());
        co_return;
    }
    // Pointers into this frame: it is here until both tasks have ended.
    auto forwarded = co_await with_task_group([&](TaskGroup& group) -> Task<> {
        group.spawn("to the target", forward, &client, &*server);
        group.spawn("to the client", forward, &*server, &client);
        co_return;
    });
    if (!forwarded) co_return; // a peer has gone, or the program ends: both streams close here
}

Task<Result<void>> accept_clients(TaskGroup* connections, TcpListener* listener, Endpoint target) {
    for (;;) {
        auto client = co_await listener->accept();
        if (client) {
            connections->spawn("connection", serve_client, std::move(*client), target);
            continue;
        }
        if (client.error() == std::errc::operation_canceled) co_return client.error();
        // Out of descriptors, most likely: the next try would fail at once as well.
        EventLoop& loop = co_await current_loop();
        loop.report("accepting pauses: " + client.error().message());
        auto slept = co_await sleep_for(std::chrono::milliseconds(100));
        if (!slept) co_return slept.error();
    }
}

Task<Result<void>> forward_all(TcpListener listener, Endpoint target) {
    GroupOptions options{.name = "connections", .on_failure = OnFailure::report};
    auto body = [&](TaskGroup& group) { return accept_clients(&group, &listener, target); };
    auto ended = co_await with_task_group(body, options);
    co_return ended;
}

int fail(const char* what, std::error_code error) {
    std::fprintf(stderr, "port_forwarder: %s: %s\n", what, error.message().c_str());
    return exit_status(error);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: port_forwarder LISTEN_HOST:PORT TARGET_HOST:PORT\n");
        return 64;
    }
    auto from = Endpoint::resolve(argv[1]);
    if (!from) return fail(argv[1], from.error());
    auto to = Endpoint::resolve(argv[2]);
    if (!to) return fail(argv[2], to.error());
    auto loop = EventLoop::create();
    if (!loop) return fail("no event loop", loop.error());
    auto listener = TcpListener::bind(*from);
    if (!listener) return fail(argv[1], listener.error());

    auto ended = loop->run(forward_all, std::move(*listener), *to);
    return fail(argv[1], ended.error());
}
