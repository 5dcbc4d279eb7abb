#include <ringlet/stream_listener.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket.hpp"
#include "net/socket_file.hpp"

#include <ringlet/detail/assert.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <string>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ringlet {

// ---- binding ------------------------------------------------------------------------------------

Result<StreamListener> StreamListener::bind(const Endpoint& endpoint,
                                            const ListenOptions& options) {
    return endpoint.is_unix() ? bind_unix(endpoint, options) : bind_tcp(endpoint, options);
}

Result<StreamListener> StreamListener::bind_tcp(const Endpoint& endpoint,
                                                const ListenOptions& options) {
    auto opened = open_tcp_socket(endpoint.family(), options.no_delay, options.liveness);
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
    return StreamListener(SocketHandle(new Socket(std::move(fd))));
}

namespace {

// Whether it is the file of a server that was killed: a socket without a listener.
bool is_left_over(const Endpoint& endpoint) {
    const std::string path(endpoint.path());
    struct stat there{};
    if (path.empty() || ::lstat(path.c_str(), &there) != 0 || !S_ISSOCK(there.st_mode))
        return false;
    const UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return client && ::connect(client.get(), endpoint.data(), endpoint.size_bytes()) != 0 &&
           errno == ECONNREFUSED;
}

} // namespace

Result<StreamListener> StreamListener::bind_unix(const Endpoint& endpoint,
                                                 const ListenOptions& options) {
    Kernel& kernel = Kernel::of_this_thread();
    auto opened = kernel.open_socket(AF_UNIX, SOCK_STREAM);
    if (!opened) return opened.error();
    UniqueFd fd = std::move(*opened);
    const bool is_real = kernel.situation().empty(); // and not a simulation, which has no files

    // bind(2) gives the file this mode, so it never has another one.
    if (is_real && ::fchmod(fd.get(), options.mode) != 0) return error_from_errno(errno);
    auto bound = kernel.bind(fd.get(), endpoint);
    if (bound.error() == std::errc::address_in_use && is_real && is_left_over(endpoint)) {
        ::unlink(std::string(endpoint.path()).c_str());
        bound = kernel.bind(fd.get(), endpoint);
    }
    if (!bound) return bound.error();
    std::shared_ptr<SocketFile> file;
    if (is_real && !endpoint.path().empty())
        file = std::make_shared<SocketFile>(std::string(endpoint.path()), true);
    auto listens = kernel.listen(fd.get(), options.backlog);
    if (!listens) return listens.error();
    StreamListener listener(SocketHandle(new Socket(std::move(fd))));
    listener.file_ = std::move(file);
    return listener;
}

// A socket that listens without SO_REUSEPORT is alone on its port: bind(2) fails for it or for the others, or
// listen(2) for the loser of a race. Once it listens it admits the others and leads their group.
Result<std::vector<StreamListener>> StreamListener::bind_several(const Endpoint& endpoint,
                                                                 std::size_t count,
                                                                 const ListenOptions& options) {
    auto first = bind(endpoint, options);
    if (!first) return first.error();
    if (endpoint.is_unix()) return share_out(std::move(*first), count);
    std::vector<StreamListener> listeners;
    listeners.push_back(std::move(*first));
    if (count < 2) return listeners;
    auto others = listeners.front().several_more(count - 1, options);
    if (!others) return others.error();
    for (StreamListener& other : *others) listeners.push_back(std::move(other));
    return listeners;
}

Result<std::vector<StreamListener>> StreamListener::several_more(std::size_t count,
                                                                 const ListenOptions& options) {
    const Endpoint bound = local();
    if (bound.is_unix()) {
        if (queue_ == nullptr) queue_ = std::make_shared<std::mutex>();
    } else {
        auto shared =
            Kernel::of_this_thread().set_option(native_handle(), SOL_SOCKET, SO_REUSEPORT, 1);
        if (!shared) return shared.error();
    }
    ListenOptions sharing = options;
    sharing.reuse_port = true;
    std::vector<StreamListener> listeners;
    while (listeners.size() < count) {
        auto another = bound.is_unix() ? share() : bind(bound, sharing);
        if (!another) return another.error();
        listeners.push_back(std::move(*another));
    }
    return listeners;
}

Result<std::vector<StreamListener>> StreamListener::share_out(StreamListener first,
                                                              std::size_t count) {
    std::vector<StreamListener> listeners;
    if (count > 1) first.queue_ = std::make_shared<std::mutex>();
    listeners.push_back(std::move(first));
    while (listeners.size() < count) {
        auto another = listeners.front().share();
        if (!another) return another.error();
        listeners.push_back(std::move(*another));
    }
    return listeners;
}

Result<StreamListener> StreamListener::take_over(UniqueFd socket) {
    Kernel& kernel = Kernel::of_this_thread();
    const auto listens = kernel.option(socket.get(), SOL_SOCKET, SO_ACCEPTCONN);
    if (!listens || *listens == 0) return Errc::not_listening;
    StreamListener listener(SocketHandle(new Socket(std::move(socket))));
    const Endpoint local = listener.local();
    if (local.is_unix() && !local.path().empty())
        listener.file_ = std::make_shared<SocketFile>(std::string(local.path()), false);
    return listener;
}

Result<UniqueFd> StreamListener::duplicate() const {
    UniqueFd fd(::fcntl(native_handle(), F_DUPFD_CLOEXEC, 0));
    if (!fd) return error_from_errno(errno);
    return fd;
}

void StreamListener::give_away() noexcept {
    if (file_ != nullptr) file_->set_owned(false);
}

// A listener on another descriptor of the same socket.
Result<StreamListener> StreamListener::share() const {
    auto fd = duplicate();
    if (!fd) return fd.error();
    StreamListener other(SocketHandle(new Socket(std::move(*fd))));
    other.file_ = file_;
    other.queue_ = queue_;
    other.is_adopted_ = is_adopted_;
    return other;
}

// ---- adopting -----------------------------------------------------------------------------------

Result<StreamListener> StreamListener::adopt(UniqueFd socket, const ListenOptions& options) {
    Kernel& kernel = Kernel::of_this_thread();
    const int fd = socket.get();
    const auto type = kernel.option(fd, SOL_SOCKET, SO_TYPE);
    const auto listens = kernel.option(fd, SOL_SOCKET, SO_ACCEPTCONN);
    const auto local = kernel.local(fd);
    if (!type || *type != SOCK_STREAM || !listens || *listens == 0 || !local)
        return Errc::not_listening;
    const int family = local->family();
    if (family == AF_INET || family == AF_INET6) {
        auto set = set_tcp_options(fd, options.no_delay, options.liveness);
        if (!set) return set.error();
    } else if (family != AF_UNIX) {
        return Errc::not_listening;
    }
    // An io_uring accept does not wait on a listener with O_NONBLOCK; the epoll ring sets the flag itself.
    kernel.make_blocking(fd);
    StreamListener listener(SocketHandle(new Socket(std::move(socket))));
    listener.is_adopted_ = true;
    return listener;
}

Result<std::vector<StreamListener>>
StreamListener::adopt_several(UniqueFd socket, std::size_t count, const ListenOptions& options) {
    auto first = adopt(std::move(socket), options);
    if (!first) return first.error();
    return share_out(std::move(*first), count);
}

// ---- using it -----------------------------------------------------------------------------------

Socket& StreamListener::socket() const {
    if (!socket_) [[unlikely]]
        used_empty("a listener");
    return *socket_.get();
}

Socket& StreamListener::prepare_accept() {
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::accept, nullptr, 0);
    return socket;
}

Operation& StreamListener::inbound_of(Socket& socket) noexcept { return socket.inbound; }

Result<SocketHandle> AcceptedSocket::take_socket() {
    const CancelScope* scope = operation_->scope;
    const int answer = take_answer();
    if (answer < 0) return error_from_errno(-answer);
    LoopCore& loop = *scope->loop;
    const bool is_direct = loop.direct_descriptor_limit() > 0;
    UniqueFd fd(is_direct ? -1 : answer);
    try {
        if (!is_direct) return SocketHandle(new Socket(std::move(fd)));
        return SocketHandle(new Socket(Descriptor::direct(answer), loop));
    } catch (const std::bad_alloc&) {
        if (is_direct) loop.close(Descriptor::direct(answer));
        return std::errc::not_enough_memory;
    }
}

namespace {

constexpr std::size_t taken_at_once_limit = 32;

Result<std::vector<StreamSocket>> streams_of(std::span<UniqueFd> fds) {
    std::vector<StreamSocket> streams;
    try {
        streams.reserve(fds.size());
        for (UniqueFd& fd : fds) streams.emplace_back(std::move(fd));
    } catch (const std::bad_alloc&) { // the others are closed
        if (streams.empty()) return std::errc::not_enough_memory;
    }
    return streams;
}

// Returns how many of the places it filled with connections that the ring accepted ahead.
std::size_t take_ahead(const Socket& listener, std::span<UniqueFd> places) {
    std::size_t count = 0;
    while (count < places.size() && (places[count] = listener.take_accepted())) ++count;
    return count;
}

} // namespace

Result<std::vector<StreamSocket>> StreamListener::accept_waiting(std::size_t at_most) {
    const Socket& socket = this->socket();
    RINGLET_ASSERT(socket.inbound.state == Operation::State::idle,
                   "an accept is in flight on this listener");
    std::array<UniqueFd, taken_at_once_limit> fds;
    const std::span<UniqueFd> places = std::span(fds).first(std::min(at_most, fds.size()));
    std::size_t count = take_ahead(socket, places);
    if (count < places.size()) {
        // Accepting without waiting switches O_NONBLOCK on and off, and that belongs to the queue: another loop that
        // switches it off in between would let this one wait.
        std::unique_lock<std::mutex> alone;
        if (queue_ != nullptr) alone = std::unique_lock(*queue_);
        Kernel& kernel = Kernel::of_this_thread();
        const auto others = kernel.accept_waiting(socket.fd(), places.subspan(count));
        if (!others && count == 0) return others.error();
        if (others) count += *others;
    }
    return streams_of(places.first(count));
}

Result<std::vector<StreamSocket>> StreamListener::take_accepted(std::size_t at_most) {
    std::array<UniqueFd, taken_at_once_limit> fds;
    const std::span<UniqueFd> places = std::span(fds).first(std::min(at_most, fds.size()));
    return streams_of(places.first(take_ahead(socket(), places)));
}

void StreamListener::stop_accepting() noexcept { socket().stop_accepting(); }

void StreamListener::refuse_new() noexcept {
    if (!is_adopted_) Kernel::of_this_thread().refuse_new_clients(socket().fd());
}

CloseAwaiter StreamListener::close() {
    file_.reset();
    return CloseAwaiter(std::move(socket_));
}

void StreamListener::cancel_accept() noexcept { socket().cancel_requests(); }

Endpoint StreamListener::local() const {
    // A bound socket always has an address.
    return Kernel::of_this_thread().local(socket().fd()).value_or(Endpoint());
}

int StreamListener::native_handle() const noexcept { return socket().fd(); }

} // namespace ringlet
