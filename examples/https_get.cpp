// Gets a page over HTTPS and prints it, head and all: https_get HOST[:PORT] [PATH [AUTHORITIES]]
//
// The server's certificate is verified: with the authorities that the system trusts, or those of a PEM file.
//
// Try it:  ./example_https_get example.org /

#include <ringlet/ringlet.hpp>
#include <ringlet/tls.hpp>

#include <cstdio>
#include <string>

#include <sysexits.h>

using namespace ringlet;

namespace {

Task<Result<void>> get(std::string host, std::string path, const TlsContext* context,
                       std::string* causes) {
    const std::string address = host.find(':') == std::string::npos ? host + ":443" : host;
    ConnectTlsOptions options;
    options.context = context;
    options.causes = causes;
    auto stream = co_await connect_tls(address, options);
    if (!stream) co_return stream.error();

    const std::string request =
        "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
    auto sent = co_await stream->send_all(request);
    if (!sent) co_return sent;
    for (;;) {
        auto chunk = co_await stream->recv();
        if (!chunk) { // truncated: the end was not the server's
            *causes += stream->failure();
            co_return chunk.error();
        }
        if (chunk->empty()) break;
        std::fwrite(chunk->data(), 1, chunk->size(), stdout);
    }
    auto closed = co_await stream->close();
    co_return closed;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: https_get HOST[:PORT] [PATH [AUTHORITIES]]\n");
        return EX_USAGE;
    }
    std::string causes;
    TlsClientOptions options;
    options.protocols = {"http/1.1"};
    options.causes = &causes;
    if (argc > 3) options.authorities = argv[3];
    auto context = TlsContext::client(options);
    auto loop = EventLoop::create();
    if (!loop) return exit_status(loop.error());
    Result<void> done;
    if (!context) {
        done = context.error();
    } else {
        const std::string path = argc > 2 ? argv[2] : "/";
        done = loop->run(get, std::string(argv[1]), path, &*context, &causes);
    }
    if (!done) {
        if (causes.empty()) causes = done.error().message();
        std::fprintf(stderr, "https_get: %s\n", causes.c_str());
    }
    return exit_status(done);
}
