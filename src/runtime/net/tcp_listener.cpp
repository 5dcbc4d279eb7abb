#include <ringlet/tcp_listener.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket_state.hpp"

#include <new>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

namespace ringlet {

Result<TcpListener> TcpListener::bind(const Endpoint& endpoint, const ListenOptions& options) {
    auto opened = open_tcp_socket(endpoint.family(), options.no_delay);
    if (!opened) return opened.error();
    UniqueFd fd = std::move(*opened);

    Kernel& kernel = Kernel::of_this_thread();
    auto done = kernel.set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (done && options.reuse_port) done = kernel.set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    if (done && endpoint.is_v6()) {
        done = kernel.set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0);
    }
    if (done) done = kernel.bind(fd.get(), endpoint);
    if (done) done = kernel.listen(fd.get(), options.backlog);
    if (!done) return done.error();
    return TcpListener(SocketHandle(new Socket(std::move(fd))));
}

// A socket that listens without SO_REUSEPORT is alone on its port: bind(2), or listen(2) of a race's
// loser, fails for it or for the others. Having listened it lets others come, and leads their group.
Result<std::vector<TcpListener>> TcpListener::bind_several(const Endpoint& endpoint,
                                                           std::size_t count,
                                                           const ListenOptions& options) {
    std::vector<TcpListener> listeners;
    auto first = bind(endpoint, options);
    if (!first) return first.error();
    if (count > 1) {
        auto shared = Kernel::of_this_thread().set_option(first->native_handle(), SOL_SOCKET,
                                                          SO_REUSEPORT, 1);
        if (!shared) return shared.error();
    }
    const Endpoint bound = first->local();
    ListenOptions sharing = options;
    sharing.reuse_port = true;
    listeners.push_back(std::move(*first));
    while (listeners.size() < count) {
        auto another = bind(bound, sharing);
        if (!another) return another.error();
        listeners.push_back(std::move(*another));
    }
    return listeners;
}

Socket& TcpListener::socket() const {
    RINGLET_ASSERT(socket_, "a TcpListener was used that is empty: moved from, or closed");
    return *socket_.get();
}

AcceptAwaiter TcpListener::accept() {
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::accept, nullptr, 0);
    return {socket, socket.inbound};
}

Result<TcpStream> AcceptAwaiter::await_resume() {
    const CancelScope* scope = operation_->Wait::scope;
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    LoopCore& loop = *scope->loop;
    const bool is_direct = loop.direct_descriptor_limit() > 0;
    UniqueFd fd(is_direct ? -1 : answer);
    try {
        if (!is_direct) return TcpStream(std::move(fd));
        return TcpStream(SocketHandle(new Socket(Descriptor::direct(answer), loop)));
    } catch (const std::bad_alloc&) {
        if (is_direct) loop.close(Descriptor::direct(answer));
        return std::errc::not_enough_memory;
    }
}

CloseAwaiter TcpListener::close() { return CloseAwaiter(std::move(socket_)); }

void TcpListener::cancel_accept() noexcept { socket().cancel_requests(); }

Endpoint TcpListener::local() const {
    // A socket that is bound has a name.
    return Kernel::of_this_thread().local(socket().fd()).value_or(Endpoint());
}

int TcpListener::native_handle() const noexcept { return socket().fd(); }

} // namespace ringlet
