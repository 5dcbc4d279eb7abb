#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/message.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>

#include <array>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <sys/socket.h>

namespace RINGLET_EXPORT ringlet {

/// How a `DatagramSocket` is made.
struct DatagramOptions {
    /// Lets several sockets share a port (SO_REUSEPORT). The kernel spreads senders over them, and delivers what is
    /// sent to a multicast group to all of them.
    bool reuse_port = false;
    /// An IPv6 socket receives nothing from IPv4 (IPV6_V6ONLY).
    bool v6_only = false;
    /// Allows sending to broadcast addresses (SO_BROADCAST).
    bool broadcast = false;
    /// Reports which of this machine's addresses each datagram was sent to (IP_PKTINFO), to answer from there.
    bool tell_destination = false;
    /// Lets the kernel join datagrams of the same sender and the same size (UDP_GRO, Linux 5.0): see
    /// `ReceivedDatagram::segment_bytes`. Receive into 64 KiB of memory then.
    bool join_segments = false;
};

/// What came with a datagram.
struct ReceivedDatagram {
    std::size_t size_bytes = 0; ///< in the caller's memory; 0 for an empty datagram
    Endpoint from;              ///< who sent it
    /// The address that it was sent to, without a port; only with `DatagramOptions::tell_destination`.
    std::optional<Endpoint> to;
    bool truncated = false; ///< it was longer than the memory; the rest is lost
    /// If not 0: the memory holds several datagrams in a row, of this many bytes each except for the last.
    std::size_t segment_bytes = 0;
};

/// What `recv_from` returns; await it at once.
class [[nodiscard]] RecvDatagramAwaiter final : public SocketAwaiter {
public:
    RecvDatagramAwaiter(Socket& socket, std::span<std::byte> memory);

    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return suspend_for(scope_of(waiting), waiting);
    }
    Result<ReceivedDatagram> await_resume();

    /// Room for the control data that can be requested: an address and a size.
    struct Control {
        alignas(cmsghdr) std::array<std::byte, 128> bytes;
    };

private:
    bool suspend_for(CancelScope& scope, std::coroutine_handle<> waiting);

    iovec memory_;
    sockaddr_storage from_{};
    Message message_;
    Control control_;
};

/// What `send_to` returns; await it at once.
class [[nodiscard]] SendDatagramAwaiter final : public SocketAwaiter {
public:
    SendDatagramAwaiter(Socket& socket, std::span<const std::byte> bytes,
                        const std::optional<Endpoint>& to, const std::optional<Endpoint>& from,
                        std::size_t segment_bytes);

    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        return suspend_for(scope_of(waiting), waiting);
    }
    Result<void> await_resume();

private:
    bool suspend_for(CancelScope& scope, std::coroutine_handle<> waiting);

    iovec bytes_;
    std::optional<Endpoint> to_;
    std::optional<Endpoint> from_;
    std::size_t segment_bytes_;
    Message message_;
    RecvDatagramAwaiter::Control control_;
};

/// A socket for datagrams: UDP over IPv4 and IPv6, or Unix datagrams.
///
///     auto socket = DatagramSocket::bind(Endpoint::parse("127.0.0.1:5353").value());
///     auto asked = co_await socket->recv_from(memory);
///
/// Lifetime  Owns the socket; see `StreamSocket`.
/// Thread    The loop on which it is first used. One receive and one send at a time (asserted).
/// Errors    Every operation may also end with `operation_canceled`.
class DatagramSocket {
public:
    /// What one UDP datagram can carry, in bytes (IPv4).
    static constexpr std::size_t largest_bytes = 65'507;

    /// Receives datagrams at an address. Port 0 picks a free one: see `local`. The file of a Unix socket outlives it.
    ///
    /// Errors    `address_in_use`, `address_not_available`, `permission_denied`, `too_many_files_open`.
    static Result<DatagramSocket> bind(const Endpoint& endpoint,
                                       const DatagramOptions& options = {});

    /// Talks to one peer: only its datagrams arrive, and `send` needs no address.
    ///
    /// Suspends  Never: nothing is sent.
    /// Errors    As `bind`; `network_unreachable`; for Unix sockets `connection_refused`, `no_such_file_or_directory`.
    static Result<DatagramSocket> connect(const Endpoint& peer,
                                          const DatagramOptions& options = {});

    /// Owns nothing; every use of it aborts.
    DatagramSocket() noexcept = default;

    /// Receives one datagram.
    ///
    /// Lifetime  The memory is lent until the await ends.
    /// Suspends  Once.
    /// Cancel    Ends with `operation_canceled`; a datagram that arrived first is delivered.
    /// Returns   `Result<ReceivedDatagram>`.
    /// Errors    `connection_refused` on a connected socket: the peer's machine reported that no socket listens there.
    [[nodiscard]] RecvDatagramAwaiter recv_from(std::span<std::byte> memory);

    /// Receives a datagram that is already there: for the rest of a burst, without a wait for each.
    ///
    /// Suspends  Never.
    /// Returns   Nothing if there is none.
    [[nodiscard]] Result<std::optional<ReceivedDatagram>>
    try_recv_from(std::span<std::byte> memory);

    /// Sends one datagram, as a whole or not at all.
    ///
    /// Lifetime  The bytes are lent until the await ends.
    /// Suspends  Once, and only to wait for room in the send buffer.
    /// Returns   `Result<void>`: it has left this program. Whether it arrives is not reported.
    /// Errors    `message_size` if it is larger than the socket takes; `network_unreachable`,
    ///           `permission_denied` (broadcast, a firewall), `connection_refused` (for an earlier datagram).
    [[nodiscard]] SendDatagramAwaiter send_to(std::span<const std::byte> bytes,
                                              const Endpoint& to) {
        return {socket(), bytes, to, std::nullopt, 0};
    }
    [[nodiscard]] SendDatagramAwaiter send_to(std::string_view text, const Endpoint& to) {
        return send_to(std::as_bytes(std::span(text)), to);
    }
    /// The same from a given address of this machine, such as `ReceivedDatagram::to`.
    [[nodiscard]] SendDatagramAwaiter send_to(std::span<const std::byte> bytes, const Endpoint& to,
                                              const Endpoint& from) {
        return {socket(), bytes, to, from, 0};
    }
    /// The same on a connected socket.
    [[nodiscard]] SendDatagramAwaiter send(std::span<const std::byte> bytes) {
        return {socket(), bytes, std::nullopt, std::nullopt, 0};
    }
    [[nodiscard]] SendDatagramAwaiter send(std::string_view text) {
        return send(std::as_bytes(std::span(text)));
    }
    /// Sends many datagrams with one system call (UDP_SEGMENT, Linux 4.18), all of one size except for the last: at
    /// most 64 of them, and `largest_bytes` in total.
    [[nodiscard]] SendDatagramAwaiter send_segments_to(std::span<const std::byte> bytes,
                                                       std::size_t segment_bytes,
                                                       const Endpoint& to) {
        return {socket(), bytes, to, std::nullopt, segment_bytes};
    }

    /// Joins a multicast group on the interface with this index (if_nametoindex(3)); with 0 the kernel chooses.
    ///
    /// Errors    `invalid_argument` if it is not a multicast address; `no_such_device`.
    Result<void> join_group(const Endpoint& group, unsigned interface_index = 0);
    Result<void> leave_group(const Endpoint& group, unsigned interface_index = 0);

    /// Closes the socket, and waits until the kernel has returned what was lent to it: see `StreamSocket::close`.
    [[nodiscard]] CloseAwaiter close();

    [[nodiscard]] Result<Endpoint> local() const;
    [[nodiscard]] Result<Endpoint> peer() const;
    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
    /// The descriptor, for setsockopt(2) and the like. Do not close, read or write it.
    [[nodiscard]] int native_handle() const noexcept;

private:
    explicit DatagramSocket(SocketHandle socket) noexcept : socket_(std::move(socket)) {}
    Result<void> change_group(int what, const Endpoint& group, unsigned interface_index);
    Socket& socket() const;

    SocketHandle socket_;
};

/// The more common name.
using UdpSocket = DatagramSocket;

} // namespace ringlet
