#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/detail/suspension.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <coroutine>
#include <cstddef>
#include <string>
#include <utility>

namespace ringlet { // not exported: a private class
class Socket;
} // namespace ringlet

namespace RINGLET_EXPORT ringlet {

/// Owns a `Socket` for a stream or a listener. Destroying it cancels what is in flight; the socket
/// stays until the last answer has been read.
class SocketHandle {
public:
    SocketHandle() noexcept = default;
    explicit SocketHandle(Socket* socket) noexcept : socket_(socket) {}
    SocketHandle(SocketHandle&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
    SocketHandle& operator=(SocketHandle&& other) noexcept {
        if (this != &other) {
            drop();
            socket_ = std::exchange(other.socket_, nullptr);
        }
        return *this;
    }
    ~SocketHandle() { drop(); }

    [[nodiscard]] explicit operator bool() const noexcept { return socket_ != nullptr; }
    [[nodiscard]] Socket* get() const noexcept { return socket_; }
    [[nodiscard]] Socket* release() noexcept { return std::exchange(socket_, nullptr); }

private:
    void drop() noexcept;

    Socket* socket_ = nullptr;
};

/// Waits for one operation of a socket. The awaiters below differ in how they interpret its answer.
/// The request itself is in the socket, so an awaiter adds only pointers to a frame.
class SocketAwaiter {
public:
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend(scope_of(waiter), waiter);
    }

protected:
    SocketAwaiter(Socket& socket, Operation& operation) noexcept
        : socket_(&socket), operation_(&operation) {}
    bool suspend(CancelScope& scope, std::coroutine_handle<> waiter);
    /// Reads the answer: bytes, a descriptor or a negative errno. The socket may be gone afterwards.
    int take_answer() noexcept;

    Socket* socket_;
    Operation* operation_;
};

/// Returns the number of bytes that were transferred.
class [[nodiscard]] TransferAwaiter : public SocketAwaiter {
public:
    TransferAwaiter(Socket& socket, Operation& operation) noexcept
        : SocketAwaiter(socket, operation) {}
    Result<std::size_t> await_resume();
};

/// Returns success if every byte was transferred.
class [[nodiscard]] WholeAwaiter : public SocketAwaiter {
public:
    WholeAwaiter(Socket& socket, Operation& operation) noexcept
        : SocketAwaiter(socket, operation) {}
    Result<void> await_resume();
};

/// Returns the received data, in borrowed memory.
class [[nodiscard]] RecvBufferAwaiter : public SocketAwaiter {
public:
    RecvBufferAwaiter(Socket& socket, Operation& operation) noexcept
        : SocketAwaiter(socket, operation) {}
    Result<Buffer> await_resume();
};

/// Waits for a connect to finish. If no socket could be created, the await returns the reason.
class ConnectingSocket {
public:
    bool await_ready() const noexcept { return false; }

protected:
    ConnectingSocket(const Endpoint& peer, Result<UniqueFd> fd);
    bool suspend(CancelScope& scope, std::coroutine_handle<> waiter);
    /// The socket, now connected.
    Result<SocketHandle> take_socket();

    Endpoint peer_;
    SocketHandle socket_;
    Result<void> opened_;
};

/// What `close` returns: waits until nothing of the socket is in flight, then closes it.
class [[nodiscard]] CloseAwaiter final : public Suspension {
public:
    explicit CloseAwaiter(SocketHandle socket) noexcept : socket_(std::move(socket)) {}
    /// Move it only before it is awaited.
    CloseAwaiter(CloseAwaiter&& other) noexcept
        : Suspension(other), socket_(std::move(other.socket_)) {}
    CloseAwaiter(const CloseAwaiter&) = delete;
    CloseAwaiter& operator=(const CloseAwaiter&) = delete;
    ~CloseAwaiter() { abandon(); }

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> closer) {
        return suspend(scope_of(closer), closer);
    }
    Result<void> await_resume() noexcept;

    // Ends by itself: what is in flight has been cancelled.
    void cancel() noexcept override {}
    void abandon() noexcept override;
    [[nodiscard]] std::string describe() const override { return "what a closed socket lent"; }

private:
    bool suspend(CancelScope& in, std::coroutine_handle<> closer);

    SocketHandle socket_;
};

} // namespace ringlet
