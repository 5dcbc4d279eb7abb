// A SOCKS5 proxy without authentication, for TCP (RFC 1928): socks5 [ADDRESS]
//
// The client says where to, by number or by name; the proxy connects, and from then on passes on bytes and ends in both
// directions.
//
// Try it:  ./example_socks5 &  curl --socks5-hostname 127.0.0.1:1080 http://example.org/

#include <ringlet/ringlet.hpp>

#include <array>
#include <string>

#include <arpa/inet.h>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr auto handshake_limit = 10s;

enum Reply : unsigned char {
    succeeded = 0,
    general_failure = 1,
    host_unreachable = 4,
    connection_refused = 5,
    command_not_supported = 7,
    address_type_not_supported = 8
};

Reply reply_for(std::error_code error) {
    if (error == std::errc::connection_refused) return connection_refused;
    if (error == Errc::unknown_host || error == std::errc::timed_out ||
        error == std::errc::host_unreachable || error == std::errc::network_unreachable)
        return host_unreachable;
    return general_failure;
}

template <std::size_t size>
Task<Result<std::array<unsigned char, size>>> read_bytes(Reader<TcpStream>& reader) {
    std::array<unsigned char, size> bytes{};
    auto read = co_await reader.read_exactly(std::as_writable_bytes(std::span(bytes)));
    if (!read) co_return read.error();
    co_return bytes;
}

Task<Result<void>> answer(TcpStream& stream, Reply reply) {
    // The address that the proxy connected from is of no use to a client: zeros.
    const std::array<unsigned char, 10> bytes = {5, reply, 0, 1};
    auto sent = co_await stream.send_all(std::as_bytes(std::span(bytes)));
    co_return sent;
}

// The client says which ways of authentication it knows; "none" must be one of them.
Task<Result<void>> greet(TcpStream& stream, Reader<TcpStream>& reader) {
    auto head = co_await read_bytes<2>(reader);
    if (!head) co_return head.error();
    if ((*head)[0] != 5) co_return std::errc::protocol_not_supported;
    std::string methods((*head)[1], '\0');
    auto read = co_await reader.read_exactly(std::as_writable_bytes(std::span(methods)));
    if (!read) co_return read;
    const bool is_open = methods.find('\0') != methods.npos;
    const std::array<unsigned char, 2> choice = {5, static_cast<unsigned char>(is_open ? 0 : 0xff)};
    auto sent = co_await stream.send_all(std::as_bytes(std::span(choice)));
    if (sent && !is_open) co_return std::errc::permission_denied;
    co_return sent;
}

// HOST:PORT, as `connect` takes it.
Task<Result<std::string>> read_target(TcpStream& stream, Reader<TcpStream>& reader) {
    auto head = co_await read_bytes<4>(reader);
    if (!head) co_return head.error();
    const auto [version, command, reserved, type] = *head;
    static_cast<void>(reserved);
    if (version != 5) co_return std::errc::protocol_not_supported;
    std::string host;
    if (type == 1 || type == 4) {
        std::string number(type == 1 ? 4 : 16, '\0');
        auto read = co_await reader.read_exactly(std::as_writable_bytes(std::span(number)));
        if (!read) co_return read.error();
        std::array<char, INET6_ADDRSTRLEN> text{};
        ::inet_ntop(type == 1 ? AF_INET : AF_INET6, number.data(), text.data(), text.size());
        host = text.data();
        if (type == 4) host.insert(0, "[").append("]");
    } else if (type == 3) {
        auto size = co_await read_bytes<1>(reader);
        if (!size) co_return size.error();
        host.resize((*size)[0]);
        auto read = co_await reader.read_exactly(std::as_writable_bytes(std::span(host)));
        if (!read) co_return read.error();
    }
    if (host.empty() || command != 1) {
        auto told = co_await answer(stream, host.empty() ? address_type_not_supported
                                                         : command_not_supported);
        static_cast<void>(told);
        co_return std::errc::operation_not_supported;
    }
    auto port = co_await read_bytes<2>(reader);
    if (!port) co_return port.error();
    co_return host + ":" + std::to_string((*port)[0] << 8 | (*port)[1]);
}

Task<Result<std::string>> shake_hands(TcpStream& stream, Reader<TcpStream>& reader) {
    auto greeted = co_await greet(stream, reader);
    if (!greeted) co_return greeted.error();
    auto target = co_await read_target(stream, reader);
    co_return target;
}

Task<Result<void>> serve_client(TcpStream client) {
    Reader reader(client);
    auto target = co_await with_timeout(handshake_limit, shake_hands(client, reader));
    if (!target) co_return target.error();

    auto server = co_await connect(*target);
    auto told = co_await answer(client, server ? succeeded : reply_for(server.error()));
    if (!server) co_return server.error();
    if (!told) co_return told;

    // What the client sent along with its request.
    while (reader.buffered_bytes() > 0) {
        auto early = co_await reader.recv();
        if (!early) co_return early.error();
        auto sent = co_await server->send_all(*early);
        if (!sent) co_return sent;
    }
    auto copied = co_await copy_both_ways(client, *server);
    if (!copied) co_return copied.error();
    co_return Result<void>();
}

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:1080";
    return exit_status(serve(options, serve_client));
}
