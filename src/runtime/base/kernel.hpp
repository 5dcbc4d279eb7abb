#pragma once

// The kernel calls that do not wait: sockets are opened, bound, named and closed here, and the
// clock is read. Operations that wait go through a Ring. Everything above uses the kernel of its
// thread, which is the real one unless a simulation stands in for it.

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

/// Thread    The one whose kernel it is.
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
    /// The ends of a pipe, the reading end first, as pipe2(2).
    virtual Result<std::pair<UniqueFd, UniqueFd>> open_pipe() = 0;
    /// Sets an option that is an int, as setsockopt(2).
    virtual Result<void> set_option(int fd, int level, int name, int value) = 0;
    /// Reads such an option, as getsockopt(2).
    virtual Result<int> option(int fd, int level, int name) = 0;
    /// Joins a multicast group (MCAST_JOIN_GROUP) or leaves it (MCAST_LEAVE_GROUP), as ip(7).
    virtual Result<void> change_group(int fd, int what, const group_req& group) = 0;
    /// Clears O_NONBLOCK if it is set.
    virtual void make_blocking(int fd) = 0;
    /// Makes close reset the connection: SO_LINGER with time 0 (socket(7)).
    virtual Result<void> reset_on_close(int fd) = 0;
    /// Whether nothing unreceived has arrived: no byte, no end of stream, no error.
    virtual Result<bool> is_idle(int fd) = 0;
    /// As bind(2), listen(2) and shutdown(2) of SHUT_WR.
    virtual Result<void> bind(int fd, const Endpoint& endpoint) = 0;
    virtual Result<void> listen(int fd, int backlog) = 0;
    virtual Result<void> shutdown_write(int fd) = 0;
    /// Accepts connections that wait at a listener, as accept4(2), as many as there is room for. Returns how many;
    /// an error only if it accepted none. Does not wait, even if the descriptor is blocking.
    virtual Result<std::size_t> accept_waiting(int listener, std::span<UniqueFd> taken) = 0;
    /// New clients' first packets no longer reach the listener.
    virtual void refuse_new_clients(int listener) noexcept = 0;
    /// Sets the peer that datagrams go to and come from, as connect(2).
    virtual Result<void> choose_peer(int fd, const Endpoint& peer) = 0;
    /// Sends what there is room for now, as send(2) with MSG_DONTWAIT; 0 if there is none.
    virtual Result<std::size_t> send_now(int fd, std::span<const std::byte> bytes) = 0;
    /// Receives a message that has already arrived, as recvmsg(2) with MSG_DONTWAIT.
    virtual Result<std::size_t> take_message(int fd, msghdr& message) = 0;
    /// The address of this side, or of the other, as getsockname(2) and getpeername(2).
    virtual Result<Endpoint> local(int fd) = 0;
    virtual Result<Endpoint> peer(int fd) = 0;
    /// Who connected a Unix socket, as SO_PEERCRED (unix(7)).
    virtual Result<ucred> peer_credentials(int fd) = 0;
    virtual void close(int fd) noexcept = 0;
    /// As `Endpoint::resolve_all`; on the calling thread.
    virtual Result<std::vector<Endpoint>> resolve(std::string_view host_and_port) = 0;

    [[nodiscard]] virtual Clock::time_point now() noexcept = 0;

    /// Whether this process has more than `than` threads; true if that is unknown. The kernel's own, which io_uring
    /// uses for files, do not count.
    [[nodiscard]] virtual bool has_more_threads(std::size_t than) noexcept = 0;

    /// Whether this process has a handler for a signal that may arrive: the handler could stop a loop. Signals
    /// for a fault of the program itself do not count.
    [[nodiscard]] virtual bool has_signal_handlers() noexcept = 0;

    /// Writes a line for an operator that no report hook took; it has no newline.
    virtual void report(std::string_view line) noexcept = 0;

    /// What must be known to reproduce a run, such as the seed of the simulation; empty for the real
    /// kernel.
    [[nodiscard]] virtual std::string_view situation() const noexcept = 0;

    /// Makes the only ring that fits this kernel. Returns false for the real one, which has several.
    virtual bool make_ring(const RingOptions& options, std::unique_ptr<Ring>& made) = 0;

protected:
    ~Kernel() = default;
};

/// Passes a line to `hook`, which is `LoopOptions::report`, or to the kernel if there is none or it throws.
///
/// Thread    Any.
void report_line(const std::function<void(std::string_view)>& hook, std::string_view line) noexcept;

} // namespace ringlet
