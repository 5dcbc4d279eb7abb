#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/message.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/unique_fd.hpp>

#include <array>
#include <coroutine>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <sys/types.h>

namespace RINGLET_EXPORT ringlet {

/// The credentials of a Unix socket's peer, as of the time it connected.
struct PeerCredentials {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

/// Bytes, and the descriptors that came with them.
struct ReceivedDescriptors {
    std::size_t size_bytes = 0; ///< 0: the peer has finished sending
    std::vector<UniqueFd> descriptors;
};

/// A connection through a Unix socket: a `StreamSocket` that also passes descriptors.
class UnixStream : public StreamSocket {
public:
    /// The maximum number of descriptors in one message (SCM_MAX_FD, unix(7)).
    static constexpr std::size_t descriptors_limit = 253;

    /// Owns nothing; every use of it aborts.
    UnixStream() noexcept = default;

    /// Takes over a socket: see `StreamSocket`.
    explicit UnixStream(UniqueFd fd) : StreamSocket(std::move(fd)) {}
    /// From a connection known to be a Unix socket.
    explicit UnixStream(StreamSocket socket) noexcept : StreamSocket(std::move(socket)) {}

    /// Connects: `auto stream = co_await UnixStream::connect(Endpoint::parse("unix:/run/echo.sock").value());`
    ///
    /// Suspends  Until the connection is established or has failed. If the server's backlog is full, it waits on
    ///           io_uring; on epoll the kernel answers `resource_unavailable_try_again` at once.
    /// Returns   `Result<UnixStream>`.
    /// Errors    `no_such_file_or_directory`, `connection_refused` (no listener), `permission_denied`;
    ///           `address_family_not_supported` for another kind of address.
    [[nodiscard]] static class UnixConnectAwaiter connect(const Endpoint& peer);

    /// Creates both ends of a connection within this process (socketpair(2)).
    ///
    /// Errors    `too_many_files_open`.
    static Result<std::pair<UnixStream, UnixStream>> pair();

    /// The peer's credentials, as the kernel recorded them when the connection was made (SO_PEERCRED).
    [[nodiscard]] Result<PeerCredentials> peer_credentials() const;

    /// Sends at least one byte together with descriptors (SCM_RIGHTS, unix(7)): the receiver gets duplicates.
    ///
    /// Lifetime  The bytes and the descriptors are lent until the await ends; the descriptors stay open here.
    /// Thread    One send at a time per stream, of any kind.
    /// Returns   `Result<void>`.
    /// Errors    As `send_some`; `argument_list_too_long` for more than `descriptors_limit`.
    [[nodiscard]] class SendDescriptorsAwaiter send_descriptors(std::span<const std::byte> bytes,
                                                                std::span<const int> descriptors);

    /// Receives what has arrived, with the descriptors that came along. They are close-on-exec. Any other kind of
    /// receive silently closes descriptors that come with its bytes.
    ///
    /// Lifetime  The memory is lent until the await ends.
    /// Returns   `Result<ReceivedDescriptors>`.
    /// Errors    As `recv`; `too_many_files_open` if this process cannot take all of them: then all are closed.
    [[nodiscard]] class RecvDescriptorsAwaiter recv_descriptors(std::span<std::byte> memory);

private:
    template <class Stream>
    friend class AcceptAwaiter;
    friend class UnixConnectAwaiter;
    explicit UnixStream(SocketHandle socket) noexcept : StreamSocket(std::move(socket)) {}
};

/// What `UnixStream::connect` returns; await it at once.
class [[nodiscard]] UnixConnectAwaiter final : public ConnectingSocket {
public:
    explicit UnixConnectAwaiter(const Endpoint& peer);
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend(scope_of(waiter), waiter);
    }
    Result<UnixStream> await_resume();
};

/// Carries descriptors: the control data of one message.
struct DescriptorControl {
    alignas(cmsghdr)
        std::array<std::byte, CMSG_SPACE(sizeof(int) * UnixStream::descriptors_limit)> bytes;
};

/// What `UnixStream::send_descriptors` returns; await it at once.
class [[nodiscard]] SendDescriptorsAwaiter final : public WholeAwaiter {
public:
    SendDescriptorsAwaiter(Socket& socket, std::span<const std::byte> bytes,
                           std::span<const int> descriptors);

    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend_for(scope_of(waiter), waiter);
    }
    Result<void> await_resume();

private:
    bool suspend_for(CancelScope& scope, std::coroutine_handle<> waiter);

    iovec bytes_;
    std::span<const int> descriptors_;
    Message message_;
    DescriptorControl control_;
};

/// What `UnixStream::recv_descriptors` returns; await it at once.
class [[nodiscard]] RecvDescriptorsAwaiter final : public SocketAwaiter {
public:
    RecvDescriptorsAwaiter(Socket& socket, std::span<std::byte> memory);

    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend_for(scope_of(waiter), waiter);
    }
    Result<ReceivedDescriptors> await_resume();

private:
    bool suspend_for(CancelScope& scope, std::coroutine_handle<> waiter);

    iovec memory_;
    Message message_;
    DescriptorControl control_;
};

} // namespace ringlet
