#include <ringlet/connect_tls.hpp>

#include <ringlet/detail/tls_connection.hpp>

#include <utility>

namespace ringlet {

Mutex& handshake_turn() noexcept {
    static thread_local Mutex turn("the turn of a TLS handshake");
    return turn;
}

namespace {

// "host:443", "[::1]:443"; a Unix socket has no host.
std::string host_of(const std::string& host_and_port) {
    if (host_and_port.starts_with("unix:")) return {};
    std::string host = host_and_port.substr(0, host_and_port.rfind(':'));
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    return host;
}

const Result<TlsContext>& system_context() {
    static const Result<TlsContext> context = TlsContext::client();
    return context;
}

} // namespace

Task<Result<TlsStream>> connect_tls(std::string host_and_port, ConnectTlsOptions options) {
    if (options.context == nullptr) {
        const Result<TlsContext>& context = system_context();
        if (!context) co_return context.error();
        options.context = &*context;
    }
    std::string host = host_of(host_and_port);
    if (options.server_name != nullptr) host = options.server_name;
    options.socket.causes = options.causes;
    auto below = co_await connect(std::move(host_and_port), options.socket);
    if (!below) co_return below.error();
    TlsContext context = *options.context;
    std::string cause;
    Task<Result<TlsStream>> shaking =
        TlsStream::connect(std::move(*below), std::move(context), std::move(host), &cause);
    auto stream = co_await std::move(shaking);
    if (!stream && options.causes != nullptr) options.causes->append(cause + "\n");
    co_return stream;
}

} // namespace ringlet
