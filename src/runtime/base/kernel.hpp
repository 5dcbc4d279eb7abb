#pragma once

// What is asked of the kernel without waiting for it: sockets are opened, bound, named and closed
// here, and the clock is read. What has to be waited for goes through a Ring. Everything above asks
// the kernel of its thread, which is the real one unless a simulation stands in for it.

#include <ringlet/clock.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

namespace ringlet {

class Ring;
struct RingOptions;

/// Thread    The one that it is the kernel of.
class Kernel {
public:
    Kernel() = default;
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;

    /// The kernel of the calling thread.
    [[nodiscard]] static Kernel& of_this_thread() noexcept;

    /// Lets another kernel stand in for the real one on this thread; null: the real one again.
    static void stand_in(Kernel* kernel) noexcept;

    /// Opens a socket of this type (SOCK_STREAM, SOCK_DGRAM) for addresses of this family, closed on exec.
    ///
    /// Errors    As socket(2).
    virtual Result<UniqueFd> open_socket(int family, int type) = 0;
    /// Two ends of a Unix connection, as socketpair(2).
    virtual Result<std::pair<UniqueFd, UniqueFd>> open_pair() = 0;
    /// The ends of a pipe, that which reads first, as pipe2(2).
    virtual Result<std::pair<UniqueFd, UniqueFd>> open_pipe() = 0;
    /// Sets an option that is an int, as setsockopt(2).
    virtual Result<void> set_option(int fd, int level, int name, int value) = 0;
    /// Reads one, as getsockopt(2).
    virtual Result<int> option(int fd, int level, int name) = 0;
    /// Joins a multicast group (MCAST_JOIN_GROUP) or leaves it (MCAST_LEAVE_GROUP), as ip(7).
    virtual Result<void> change_group(int fd, int what, const group_req& group) = 0;
    /// Takes O_NONBLOCK off, if it is on.
    virtual void make_blocking(int fd) = 0;
    /// A connection's end will be a reset: SO_LINGER of no time (socket(7)).
    virtual Result<void> reset_on_close(int fd) = 0;
    /// Whether nothing has arrived that was not received: no byte, no end, no error.
    virtual Result<bool> is_idle(int fd) = 0;
    /// As bind(2), listen(2) and shutdown(2) of SHUT_WR.
    virtual Result<void> bind(int fd, const Endpoint& endpoint) = 0;
    virtual Result<void> listen(int fd, int backlog) = 0;
    virtual Result<void> shutdown_write(int fd) = 0;
    /// Takes connections that wait at a listener, as accept4(2), as many as there is room for. Returns how many; an
    /// error only if there was none to take before it. Does not wait, even if the descriptor would.
    virtual Result<std::size_t> accept_waiting(int listener, std::span<UniqueFd> taken) = 0;
    /// New clients' first packets no longer reach the listener.
    virtual void refuse_new_clients(int listener) noexcept = 0;
    /// Chooses whom datagrams go to and come from, as connect(2).
    virtual Result<void> choose_peer(int fd, const Endpoint& peer) = 0;
    /// Sends what there is room for now, as send(2) with MSG_DONTWAIT; 0 if there is none.
    virtual Result<std::size_t> send_now(int fd, std::span<const std::byte> bytes) = 0;
    /// Takes a message that is there already, as recvmsg(2) with MSG_DONTWAIT.
    virtual Result<std::size_t> take_message(int fd, msghdr& message) = 0;
    /// The address of this side, or of the other, as getsockname(2) and getpeername(2).
    virtual Result<Endpoint> local(int fd) = 0;
    virtual Result<Endpoint> peer(int fd) = 0;
    /// Who connected a Unix socket, as SO_PEERCRED (unix(7)).
    virtual Result<ucred> peer_credentials(int fd) = 0;
    virtual void close(int fd) noexcept = 0;
    /// As `Endpoint::resolve_all`; on whatever thread asks.
    virtual Result<std::vector<Endpoint>> resolve(std::string_view host_and_port) = 0;

    [[nodiscard]] virtual Clock::time_point now() noexcept = 0;

    /// Whether more threads of this process than so many may do something for each other; also if that is unknown. The
    /// kernel's own, which io_uring has for files, do not count.
    [[nodiscard]] virtual bool has_more_threads(std::size_t than) noexcept = 0;

    /// Whether a signal may come whose handler is a function of this process: it could stop a loop. Signals that
    /// tell of a fault of the program itself do not count.
    [[nodiscard]] virtual bool has_signal_handlers() noexcept = 0;

    /// Takes a line for an operator, without a newline: one that nobody else wanted.
    virtual void report(std::string_view line) noexcept = 0;

    /// What must be known to make the same thing happen again, as which seed is simulated; empty for
    /// the real one.
    [[nodiscard]] virtual std::string_view situation() const noexcept = 0;

    /// Makes the only ring that fits this kernel. Returns false for the real one, which has several.
    virtual bool make_ring(const RingOptions& options, std::unique_ptr<Ring>& made) = 0;

protected:
    ~Kernel() = default;
};

/// Tells a line to `hook`, which is `LoopOptions::report`, or to the kernel when there is none or it throws.
///
/// Thread    Any.
void report_line(const std::function<void(std::string_view)>& hook, std::string_view line) noexcept;

} // namespace ringlet
