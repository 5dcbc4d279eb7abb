// The one header that users include: it has what a program needs, in the form that the documentation
// shows.

#include <ringlet/ringlet.hpp>

#include "net.hpp"

#include <algorithm>
#include <string>
#include <thread>

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

Task<Result<std::string>> ask(Endpoint server, std::string question) {
    auto stream = co_await TcpStream::connect(server);
    if (!stream) co_return stream.error();
    auto sent = co_await stream->send_all(std::as_bytes(std::span(question)));
    if (!sent) co_return sent.error();
    std::string answer(question.size(), '\0');
    auto received = co_await stream->recv_exactly(std::as_writable_bytes(std::span(answer)));
    if (!received) co_return received.error();
    auto closed = co_await stream->close();
    if (!closed) co_return closed.error();
    co_return answer;
}

} // namespace

TEST_CASE("the programs of the documentation compile and talk to each other") {
    Endpoint address;
    std::string answer;
    Result<ServeReport> report = std::errc::not_connected;
    auto server =
        Server::create({.listen = "127.0.0.1:0", .max_connections = 10, .handle_signals = false});
    REQUIRE_MESSAGE(server, server.error().message());
    address = server->local();
    std::thread client([&] {
        auto loop = EventLoop::create();
        auto asked = loop->run(ask, address, std::string("hello"));
        answer = std::move(asked).value_or("no answer");
        server->stop();
    });
    testing::waiting_for("the server of the documentation to end");
    report = server->run(echo);
    client.join();
    REQUIRE(report);
    CHECK(answer == "hello");
    CHECK(report->accepted_count == 1);
    CHECK(exit_status(report) == 0);
}

TEST_CASE("the header defines the version") {
    const std::string version = RINGLET_VERSION;
    CHECK(std::count(version.begin(), version.end(), '.') == 2);
}
