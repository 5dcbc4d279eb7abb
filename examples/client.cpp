// Sends a line to an echo server and compares what comes back: client [HOST:PORT [TEXT]]
//
// Try it:  ./example_echo_server &  ./example_client 127.0.0.1:3200 hello

#include <ringlet/ringlet.hpp>

#include <cstdio>
#include <string>

using namespace ringlet;

namespace {

Task<Result<std::string>> ask(Endpoint server, std::string question) {
    auto stream = co_await TcpStream::connect(server);
    if (!stream) co_return stream.error();

    // Both strings live in this frame, which does not move while the kernel uses their bytes.
    auto sent = co_await stream->send_all(question);
    if (!sent) co_return sent.error();

    std::string answer(question.size(), '\0');
    auto received = co_await stream->recv_exactly(std::as_writable_bytes(std::span(answer)));
    if (!received) co_return received.error(); // end_of_stream: the server had nothing to say

    // Waits until the kernel has given everything back; dropping the stream would do, too.
    auto closed = co_await stream->close();
    if (!closed) co_return closed.error();
    co_return answer;
}

int fail(const char* what, std::error_code error) {
    std::fprintf(stderr, "client: %s: %s\n", what, error.message().c_str());
    return exit_status(error);
}

} // namespace

int main(int argc, char** argv) {
    const std::string address = argc > 1 ? argv[1] : "127.0.0.1:3200";
    const std::string question = argc > 2 ? argv[2] : "hello";

    auto server = Endpoint::resolve(address); // asks the name server, so it comes before the loop
    if (!server) return fail(address.c_str(), server.error());
    auto loop = EventLoop::create();
    if (!loop) return fail("no event loop", loop.error());

    auto answer = loop->run(ask, *server, question);
    if (!answer) return fail(address.c_str(), answer.error());
    std::printf("%s\n", answer->c_str());
    return *answer == question ? 0 : 1;
}
