#include <ringlet/stream_listener.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket_state.hpp"

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

/// Goes with the last listener at it, unless another server has made one of the same name since.
class StreamListener::SocketFile {
public:
    explicit SocketFile(std::string path) : path_(std::move(path)) {
        struct stat made{};
        if (::lstat(path_.c_str(), &made) == 0) inode_ = made.st_ino;
    }
    SocketFile(const SocketFile&) = delete;
    SocketFile& operator=(const SocketFile&) = delete;
    ~SocketFile() {
        struct stat now{};
        if (inode_ && ::lstat(path_.c_str(), &now) == 0 && now.st_ino == *inode_)
            ::unlink(path_.c_str());
    }

    void keep() noexcept { inode_.reset(); }

private:
    std::string path_;
    std::optional<ino_t> inode_;
};

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

// The file of a server that was killed: a socket that nobody listens on.
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

    // The mode that bind(2) gives the file; there is no moment at which it has another.
    if (is_real && ::fchmod(fd.get(), options.mode) != 0) return error_from_errno(errno);
    auto bound = kernel.bind(fd.get(), endpoint);
    if (bound.error() == std::errc::address_in_use && is_real && is_left_over(endpoint)) {
        ::unlink(std::string(endpoint.path()).c_str());
        bound = kernel.bind(fd.get(), endpoint);
    }
    if (!bound) return bound.error();
    std::shared_ptr<SocketFile> file;
    if (is_real && !endpoint.path().empty())
        file = std::make_shared<SocketFile>(std::string(endpoint.path()));
    auto listens = kernel.listen(fd.get(), options.backlog);
    if (!listens) return listens.error();
    StreamListener listener(SocketHandle(new Socket(std::move(fd))));
    listener.file_ = std::move(file);
    return listener;
}

// A socket that listens without SO_REUSEPORT is alone on its port: bind(2), or listen(2) of a race's
// loser, fails for it or for the others. Having listened it lets others come, and leads their group.
Result<std::vector<StreamListener>> StreamListener::bind_several(const Endpoint& endpoint,
                                                                 std::size_t count,
                                                                 const ListenOptions& options) {
    std::vector<StreamListener> listeners;
    auto first = bind(endpoint, options);
    if (!first) return first.error();
    listeners.push_back(std::move(*first));
    if (count < 2) return listeners;
    auto others = listeners.front().several_more(count - 1, options);
    if (!others) return others.error();
    for (StreamListener& other : *others) listeners.push_back(std::move(other));
    return listeners;
}

Result<std::vector<StreamListener>>
StreamListener::several_more(std::size_t count, const ListenOptions& options) const {
    const Endpoint bound = local();
    if (!bound.is_unix()) {
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

Result<StreamListener> StreamListener::adopt(UniqueFd fd, bool owns_file) {
    Kernel& kernel = Kernel::of_this_thread();
    auto listens = kernel.option(fd.get(), SOL_SOCKET, SO_ACCEPTCONN);
    auto type = kernel.option(fd.get(), SOL_SOCKET, SO_TYPE);
    if (!listens || !type || *listens == 0 || *type != SOCK_STREAM)
        return std::errc::invalid_argument;
    ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
    StreamListener listener(SocketHandle(new Socket(std::move(fd))));
    const Endpoint local = listener.local();
    if (owns_file && local.is_unix() && !local.path().empty())
        listener.file_ = std::make_shared<SocketFile>(std::string(local.path()));
    return listener;
}

Result<UniqueFd> StreamListener::duplicate() const {
    UniqueFd fd(::fcntl(native_handle(), F_DUPFD_CLOEXEC, 0));
    if (!fd) return error_from_errno(errno);
    return fd;
}

void StreamListener::give_away() noexcept {
    if (file_ != nullptr) file_->keep();
}

// Another name of the same socket.
Result<StreamListener> StreamListener::share() const {
    auto fd = duplicate();
    if (!fd) return fd.error();
    StreamListener other(SocketHandle(new Socket(std::move(*fd))));
    other.file_ = file_;
    return other;
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
    const CancelScope* scope = operation_->Wait::scope;
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

Result<std::vector<StreamSocket>> StreamListener::accept_waiting(std::size_t at_most) {
    Socket& socket = this->socket();
    RINGLET_ASSERT(socket.inbound.state == Operation::State::idle,
                   "an accept is in flight on this listener");
    std::vector<StreamSocket> streams;
    std::array<UniqueFd, 32> room;
    const std::span<UniqueFd> taken = std::span(room).first(std::min(at_most, room.size()));
    auto count = Kernel::of_this_thread().accept_waiting(socket.fd(), taken);
    if (!count) return count.error();
    try {
        streams.reserve(*count);
        for (UniqueFd& fd : taken.first(*count)) streams.emplace_back(std::move(fd));
    } catch (const std::bad_alloc&) { // the others are closed
        if (streams.empty()) return std::errc::not_enough_memory;
    }
    return streams;
}

void StreamListener::refuse_new() noexcept {
    Kernel::of_this_thread().refuse_new_clients(socket().fd());
}

CloseAwaiter StreamListener::close() {
    file_.reset();
    return CloseAwaiter(std::move(socket_));
}

void StreamListener::cancel_accept() noexcept { socket().cancel_requests(); }

Endpoint StreamListener::local() const {
    // A socket that is bound has a name.
    return Kernel::of_this_thread().local(socket().fd()).value_or(Endpoint());
}

int StreamListener::native_handle() const noexcept { return socket().fd(); }

} // namespace ringlet
