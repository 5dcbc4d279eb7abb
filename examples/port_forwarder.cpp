// Forwards connections to another server: port_forwarder LISTEN_HOST:PORT TARGET_HOST:PORT
//
// Two coroutines per connection, one for each direction. A stream takes one receive and one send at
// a time, so the two never get in each other's way. Both own the pair of streams; it goes when the
// second of them ends.
//
// Try it:  ./example_echo_server &  ./example_port_forwarder 127.0.0.1:3203 127.0.0.1:3200 &
//          echo hello | socat - TCP:127.0.0.1:3203

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <cstdio>
#include <memory>

#include <sys/socket.h>

using namespace ringlet;

namespace {

struct Pair {
    TcpStream client;
    TcpStream target;

    // Ends whatever the other direction waits for: it sees the end of its stream, or an error. (It
    // may be about to use a stream, so that closing one here would be wrong.)
    void hang_up() const {
        ::shutdown(client.native_handle(), SHUT_RDWR);
        ::shutdown(target.native_handle(), SHUT_RDWR);
    }
};

// One direction. Its end is passed on as a half-close, and the other direction goes on.
Task<> forward(std::shared_ptr<Pair> pair, TcpStream Pair::* source, TcpStream Pair::* sink) {
    TcpStream& from = (*pair).*source;
    TcpStream& to = (*pair).*sink;
    for (;;) {
        auto chunk = co_await from.recv();
        if (!chunk) break;
        if (chunk->empty()) {
            auto finished = to.shutdown_write();
            if (!finished) break;
            co_return;
        }
        auto sent = co_await to.send_all(*chunk);
        if (!sent) break;
    }
    pair->hang_up();
}

Task<> connect_and_forward(EventLoop* loop, TcpStream client, Endpoint target) {
    auto connected = co_await TcpStream::connect(target);
    if (!connected) {
        loop->report(target.to_string() + ": " + connected.error().message());
        co_return;
    }
    auto pair = std::make_shared<Pair>();
    pair->client = std::move(client);
    pair->target = std::move(*connected);
    loop->spawn(forward, pair, &Pair::client, &Pair::target);
    loop->spawn(forward, pair, &Pair::target, &Pair::client);
}

Task<Result<void>> accept_clients(EventLoop* loop, TcpListener listener, Endpoint target) {
    for (;;) {
        auto client = co_await listener.accept();
        if (client) {
            loop->spawn(connect_and_forward, loop, std::move(*client), target);
            continue;
        }
        if (client.error() == std::errc::operation_canceled) co_return client.error();
        // Out of descriptors, most likely: the next try would fail at once as well.
        loop->report("accepting pauses: " + client.error().message());
        auto slept = co_await sleep_for(std::chrono::milliseconds(100));
        if (!slept) co_return slept.error();
    }
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

    auto ended = loop->run(accept_clients, &*loop, std::move(*listener), *to);
    return fail(argv[1], ended.error());
}
