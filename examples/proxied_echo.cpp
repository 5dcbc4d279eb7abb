// Echoes behind proxies, and first reports the client's address: proxied_echo [ADDRESS [PROXY ...]], each PROXY an
// address or a range, 10.0.0.0/8, or unix: for those that come through a Unix socket.
//
// HAProxy sends the client's address by `server app 127.0.0.1:3203 send-proxy-v2`, nginx by `proxy_protocol on;` in a
// server of its stream block.
//
// Try it:  ./example_proxied_echo &  printf 'PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nhello' | socat - TCP:127.0.0.1:3203

#include <ringlet/ringlet.hpp>

#include <cstdio>
#include <string>
#include <string_view>

#include <sysexits.h>

using namespace ringlet;

namespace {

Task<Result<void>> echo(StreamSocket stream) {
    auto peer = stream.peer(); // what the proxy said
    if (!peer) co_return peer.error();
    const std::string greeting = "hello, " + peer->to_string() + "\n";
    auto sent = co_await stream.send_all(greeting);
    if (!sent) co_return sent;
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk) co_return chunk.error();
        if (chunk->empty()) co_return Result<void>();
        sent = co_await stream.send_all(*chunk);
        if (!sent) co_return sent;
    }
}

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:3203";

    ProxyOptions proxies;
    for (int index = 2; index < argc; ++index) {
        auto range = AddressRange::parse(argv[index]);
        if (!range) {
            std::fprintf(stderr, "%s: %s\n", argv[index], range.error().message().c_str());
            return EX_USAGE;
        }
        proxies.trusted.push_back(*range);
    }
    if (proxies.trusted.empty()) proxies.trusted = {"127.0.0.1", "::1", "unix:"};
    proxies.report = [](std::string_view line) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
    };
    return exit_status(serve(options, with_proxy_protocol(proxies, echo)));
}
