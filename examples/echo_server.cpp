#include <ringlet/ringlet.hpp>
using namespace ringlet;

Task<> echo(TcpStream stream) {
    for (;;) {
        auto chunk = co_await stream.recv(); // a pooled buffer; empty: the peer has finished
        if (!chunk || chunk->empty()) co_return;

        auto sent = co_await stream.send_all(*chunk);
        if (!sent) co_return;
    }
}

int main() {
    ServeOptions options{.listen = "127.0.0.1:3200", .max_connections = 100'000};
    return exit_status(serve(options, echo)); // SIGTERM drains, then stops
}
