// Echo with Asio: one coroutine per connection. The build makes two programs of it, on epoll and on
// io_uring: Asio takes that choice from macros.

#include "peer.hpp"

#include <array>
#include <asio.hpp>
#include <csignal>
#include <system_error>

using asio::use_awaitable;
using asio::ip::tcp;

static asio::awaitable<void> echo(tcp::socket connection) {
    std::array<char, peer_buffer_bytes> bytes;
    try {
        for (;;) {
            std::size_t received =
                co_await connection.async_read_some(asio::buffer(bytes), use_awaitable);
            co_await asio::async_write(connection, asio::buffer(bytes, received), use_awaitable);
        }
    } catch (const std::system_error&) {
        // the client has finished or gone
    }
}

static asio::awaitable<void> serve(tcp::acceptor& acceptor) {
    for (;;) {
        tcp::socket connection = co_await acceptor.async_accept(use_awaitable);
        asio::co_spawn(acceptor.get_executor(), echo(std::move(connection)), asio::detached);
    }
}

int main(int argc, char** argv) {
    tcp::endpoint address(asio::ip::address_v4::loopback(), peer_port(argc, argv));
    try {
        asio::io_context context(1); // one thread
        tcp::acceptor acceptor(context, address.protocol());
        acceptor.set_option(tcp::acceptor::reuse_address(true));
        acceptor.set_option(tcp::no_delay(true)); // the accepted sockets inherit it
        acceptor.bind(address);
        acceptor.listen(peer_backlog);

        // Without this, a ring that was not closed keeps the port for a while.
        asio::signal_set signals(context, SIGTERM, SIGINT);
        signals.async_wait([&](std::error_code, int) { context.stop(); });

        asio::co_spawn(context, serve(acceptor), [](std::exception_ptr failure) {
            if (failure) std::rethrow_exception(failure);
        });
        context.run();
    } catch (const std::system_error& failure) {
        peer_fail(address.port(), failure.code().value());
    }
}
